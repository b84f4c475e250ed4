use super::*;

fn rate(count: u32, hours: u64) -> Rate {
    Rate::new(count, Duration::from_hours(hours)).unwrap()
}

/// The refills that Let's Encrypt publishes beside its limits.
#[test]
fn tokens_come_back_as_published() {
    for (rate, interval) in [
        (rate(300, 3), SignedDuration::from_secs(36)),
        (rate(50, 7 * 24), SignedDuration::from_secs(12_096)), // 202 min
        (rate(5, 7 * 24), SignedDuration::from_secs(120_960)), // 34 h
        (rate(5, 1), SignedDuration::from_mins(12)),
    ] {
        assert_eq!(rate.interval(), interval);
        let mut bucket = Bucket::default();
        let mut taken = 0;
        while bucket.next(rate, START) <= START {
            bucket.take(rate, START);
            taken += 1;
        }
        assert_eq!(
            (taken, bucket.left(rate, START)),
            (u64::from(rate_count(rate)), 0)
        );
        assert_eq!(bucket.next(rate, START), START + interval);
        let later = START + interval;
        assert_eq!(bucket.left(rate, later), 1);
        bucket.take(rate, later);
        assert_eq!(bucket.next(rate, later), later + interval);
    }
}

fn rate_count(rate: Rate) -> u32 {
    Bucket::default().left(rate, START)
}

#[test]
fn a_refusal_corrects_the_bucket() {
    let rate = rate(5, 7 * 24);
    let mut bucket = Bucket::default();
    bucket.learn(rate, at(1000));
    assert_eq!(bucket.next(rate, START), at(1000));
    assert_eq!(bucket.left(rate, at(1000)), 1);
    bucket.learn(rate, at(500));
    assert_eq!(
        bucket.next(rate, START),
        at(1000),
        "it is not believed to have grown"
    );
}

#[test]
fn rates_are_said_as_people_say_them() {
    for (count, seconds, said) in [
        (5, 7 * 86_400, "5 a week"),
        (5, 3600, "5 an hour"),
        (300, 3 * 3600, "300 in 3h"),
        (1, 86_400, "1 a day"),
        (2, 90, "2 in 90s"),
        (3, 1800, "3 in 30m"),
        (9, 30 * 86_400, "9 in 30d"),
    ] {
        let rate = Rate::new(count, Duration::from_secs(seconds)).unwrap();
        assert_eq!(rate.to_string(), said);
    }
    assert_eq!(Rate::new(0, Duration::from_secs(1)), None);
    assert_eq!(Rate::new(1, Duration::ZERO), None);
}

/// A limiter that remembers every token, to compare with.
#[derive(Default)]
struct Plain {
    /// Micro-tokens that are missing, and since when.
    missing: f64,
    since: i64,
}

impl Plain {
    fn try_take(&mut self, count: f64, period: f64, now: i64) -> bool {
        let passed = f64::from(i32::try_from(now - self.since).unwrap());
        self.missing = (self.missing - passed * count / period).max(0.0);
        self.since = now;
        let room = self.missing + 1.0 <= count + 1e-6;
        if room {
            self.missing += 1.0;
        }
        room
    }
}

proptest! {
    /// Whatever the times: taken exactly when a plain bucket of tokens has one.
    #[test]
    fn one_time_is_enough_to_tell_a_bucket(
        count in 1_u32..50,
        seconds_each in 1_u32..1000,
        gaps in prop::collection::vec(0_i64..2000, 1..200),
    ) {
        let period = count * seconds_each;
        let rate = Rate::new(count, Duration::from_secs(period.into())).unwrap();
        let (mut bucket, mut plain, mut now) = (Bucket::default(), Plain::default(), 0);
        for gap in gaps {
            now += gap;
            let may = bucket.next(rate, at(now)) <= at(now);
            prop_assert_eq!(may, bucket.left(rate, at(now)) > 0);
            prop_assert_eq!(may, plain.try_take(count.into(), period.into(), now));
            if may {
                bucket.take(rate, at(now));
            }
        }
    }

    /// What is reserved is not there for others, and when it is taken at last nothing has changed for them.
    #[test]
    fn a_reserved_token_is_as_good_as_taken(
        count in 1_u32..20, taken in 0_u32..20, reserved in 0_u32..20, wait in 0_i64..100_000,
    ) {
        let rate = Rate::new(count, Duration::from_hours(24)).unwrap();
        let mut bucket = Bucket::default();
        for _ in 0..taken.min(count) {
            bucket.take(rate, START);
        }
        bucket.reserved = reserved;
        let next = bucket.next(rate, at(wait));
        for _ in 0..reserved {
            bucket.reserved -= 1;
            bucket.take(rate, at(wait));
        }
        prop_assert_eq!(bucket.next(rate, at(wait)), next);
    }

    #[test]
    fn nothing_overflows(count in 1_u32.., seconds in 1_u64..1 << 40, reserved: u32, full in any::<i32>()) {
        let rate = Rate::new(count, Duration::from_secs(seconds)).unwrap();
        let mut bucket = Bucket { full_at: at(full.into()), reserved };
        bucket.next(rate, Timestamp::MAX);
        bucket.left(rate, Timestamp::MIN);
        bucket.take(rate, Timestamp::MAX);
        bucket.learn(rate, Timestamp::MAX);
        bucket.next(rate, START);
    }
}
