//! Instants as text in events: `2026-11-23T08:16:56.104211Z`, RFC 3339 in UTC.
//!
//! The text is the one that chrono writes and reads, which the first events were written by, to the byte: without a fraction
//! where there is none, with three or six digits otherwise. A refresh writes three of them and folding it reads them back,
//! which took a tenth of the time of both.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;

const LEN: usize = "2026-11-23T08:16:56.104211Z".len();

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    match write(*at, &mut [0; LEN]) {
        Some(text) => serializer.serialize_str(text),
        None => at.serialize(serializer),
    }
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Timestamp, D::Error> {
    crate::text::deserialize(deserializer, "an instant, RFC 3339", |text| {
        read(text.as_bytes()).map_or_else(|| text.parse(), Ok)
    })
}

/// The same for instants that may be absent.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Known(#[serde(with = "super")] Timestamp);

    pub fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(Known).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let known: Option<Known> = Deserialize::deserialize(deserializer)?;
        Ok(known.map(|Known(at)| at))
    }
}

/// The text, unless it takes more than the usual form.
fn write(at: Timestamp, text: &mut [u8; LEN]) -> Option<&str> {
    let (date, time) = (at.date_naive(), at.time());
    let year = u32::try_from(date.year())
        .ok()
        .filter(|year| *year <= 9999)?;
    let nanos = time.nanosecond();
    // A leap second, or an instant that no clock of ours tells.
    if nanos >= 1_000_000_000 || !nanos.is_multiple_of(1000) {
        return None;
    }
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], date.month());
    digits(&mut text[8..10], date.day());
    digits(&mut text[11..13], time.hour());
    digits(&mut text[14..16], time.minute());
    digits(&mut text[17..19], time.second());
    for (place, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        text[place] = separator;
    }
    let end = match nanos {
        0 => 19,
        _ if nanos.is_multiple_of(1_000_000) => {
            digits(&mut text[20..23], nanos / 1_000_000);
            23
        }
        _ => {
            digits(&mut text[20..26], nanos / 1000);
            26
        }
    };
    if end > 19 {
        text[19] = b'.';
    }
    text[end] = b'Z';
    std::str::from_utf8(&text[..=end]).ok()
}

fn digits(places: &mut [u8], mut value: u32) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The instant, if the text has the usual form.
fn read(text: &[u8]) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_at_checked(19)?;
    let micros = match fraction {
        [b'Z'] => 0,
        [b'.', digits @ .., b'Z'] if digits.len() == 3 => value(digits)? * 1000,
        [b'.', digits @ .., b'Z'] if digits.len() == 6 => value(digits)?,
        _ => return None,
    };
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', ..] = seconds else {
        return None;
    };
    let &[h1, h2, b':', min1, min2, b':', s1, s2] = &seconds[11..] else {
        return None;
    };
    let year = i32::try_from(value(&[y1, y2, y3, y4])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, value(&[m1, m2])?, value(&[d1, d2])?)?;
    let time = NaiveTime::from_hms_micro_opt(
        value(&[h1, h2])?,
        value(&[min1, min2])?,
        value(&[s1, s2])?,
        micros,
    )?;
    Some(DateTime::from_naive_utc_and_offset(
        date.and_time(time),
        chrono::Utc,
    ))
}

fn value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(value * 10 + digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ours(#[serde(with = "super")] Timestamp);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct OursOptional(#[serde(with = "super::optional")] Option<Timestamp>);

    /// Far before 1 BC to far behind 9999, at each precision.
    fn instants() -> impl Strategy<Value = Timestamp> {
        let nanos = prop_oneof![
            0..1_000_000_000_u32,
            (0..1_000_000_u32).prop_map(|micros| micros * 1000),
            (0..1000_u32).prop_map(|millis| millis * 1_000_000),
            Just(0),
            1_000_000_000..2_000_000_000_u32,
        ];
        let seconds = prop_oneof![0..4_102_444_800_i64, -90_000_000_000..300_000_000_000_i64];
        (seconds, nanos).prop_filter_map("an instant", |(seconds, nanos)| {
            DateTime::from_timestamp(seconds, nanos)
        })
    }

    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).expect("text")
    }

    proptest! {
        #[test]
        fn the_text_is_chronos(at in instants()) {
            let text = json(&at);
            prop_assert_eq!(json(&Ours(at)), text.clone());
            prop_assert_eq!(json(&OursOptional(Some(at))), text.clone());
            let known: Timestamp = serde_json::from_str(&text).expect("an instant");
            prop_assert_eq!(serde_json::from_str::<Ours>(&text).expect("ours"), Ours(known));
        }

        #[test]
        fn whatever_chrono_reads_is_read_so_and_nothing_else(
            text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?(Z|\\+0[0-9]:00)?",
        ) {
            let text = json(&text);
            let chronos = serde_json::from_str::<Timestamp>(&text).ok();
            prop_assert_eq!(serde_json::from_str::<Ours>(&text).ok(), chronos.map(Ours));
        }

        #[test]
        fn a_changed_character_is_read_as_chrono_does(
            at in instants(), place in any::<prop::sample::Index>(), character in any::<char>(),
        ) {
            let mut text: Vec<char> = at.to_rfc3339().replace("+00:00", "Z").chars().collect();
            let place = place.index(text.len());
            text[place] = character;
            let text = json(&text.into_iter().collect::<String>());
            let chronos = serde_json::from_str::<Timestamp>(&text).ok();
            prop_assert_eq!(serde_json::from_str::<Ours>(&text).ok(), chronos.map(Ours));
        }
    }

    #[test]
    fn absent_is_null() {
        assert_eq!(json(&OursOptional(None)), "null");
        let absent: OursOptional = serde_json::from_str("null").expect("absent");
        assert_eq!(absent, OursOptional(None));
        assert!(serde_json::from_str::<Ours>("null").is_err());
    }
}
