//! The connection to the database is cut in the middle of a commit, and the next one is good: the answer is the truth, and
//! asking again does no harm.

use support::postgres::{Cut, Cutter};
use support::{Setup, Tokens};

use crate::load::Told;
use crate::record;
use crate::rig::{Rig, try_again_later};
use crate::tails::Tails;

const CUTS: [Cut; 5] = [Cut::Before, Cut::Within, Cut::While, Cut::After, Cut::Late];

#[tokio::test]
async fn a_commit_that_is_cut_is_answered_by_the_truth_or_not_at_all() {
    let mut network = None;
    let rig = Rig::with(async |url| {
        let cutter = network.insert(Cutter::before(url).await);
        [url, &cutter.url(url), url].map(|url| Setup::default().database(url))
    })
    .await;
    let network = network.expect("it was made");
    let client = rig.client().await;
    let (mut told, tails) = (Told::default(), Tails::start(&rig));
    for cut in CUTS.repeat(2) {
        let code = rig.code(&client).await;
        let (cut_off, other) = (client.at(&rig.nodes[1]), client.at(&rig.nodes[2]));
        let pkce = support::Pkce::rfc7636();
        network.cut_next(cut);
        let answer = cut_off.redeem(&code, &pkce).await;
        assert!(network.has_cut());
        let tokens = match answer.status {
            200 => Tokens::of(&answer),
            _ => {
                try_again_later(&answer);
                // The node reaches the database again at once, so that it knows: nothing was done.
                Tokens::of(&other.redeem(&code, &pkce).await.expect(200))
            }
        };
        told.issued.push(tokens.clone());
        network.cut_next(cut);
        let answer = cut_off.refresh(&tokens.refresh).await;
        assert!(network.has_cut());
        let known = (answer.status == 200).then(|| Tokens::of(&answer));
        match &known {
            Some(tokens) => told.issued.push(tokens.clone()),
            None => try_again_later(&answer),
        }
        // As after a lost answer: the same successor.
        let again = Tokens::of(&other.refresh(&tokens.refresh).await.expect(200));
        let same = known.is_none_or(|known| known.refresh == again.refresh);
        assert!(same, "{cut:?}: two live leaves");
        told.issued.push(again.clone());
        told.last = Some((client.clone(), again));
    }
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, vec![told]).await;
}
