//! When somebody is seen for the first time.

mod support;

use domain::Aggregate;
use domain::id::{ProviderId, SubjectId};
use domain::subject::{Command, Event, FirstSeen, Rule, Subject};
use support::{after, given};
use uuid::Uuid;

const SUBJECT: SubjectId = SubjectId(Uuid::from_u128(9));

fn see(provider: u32) -> Command {
    Command::See {
        subject: SUBJECT,
        provider_id: ProviderId(provider),
    }
}

fn seen(provider: u32) -> Event {
    Event::FirstSeen(FirstSeen {
        subject: SUBJECT,
        provider_id: ProviderId(provider),
    })
}

#[test]
fn only_the_first_time_is_recorded() {
    given::<Subject>(&[]).when(see(1)).then(&[seen(1)]);
    given::<Subject>(&[seen(1)]).when(see(1)).then(&[]);
}

#[test]
fn a_subject_belongs_to_one_provider() {
    given::<Subject>(&[seen(1)])
        .when(see(2))
        .then_refused(Rule::OtherProvider);
    let state = after::<Subject>(&[seen(1), seen(2)]);
    assert_eq!(state, after::<Subject>(&[seen(1)]));
    assert_eq!(state.correlation().subject, Some(SUBJECT));
    assert_eq!(Subject::default().correlation().subject, None);
}
