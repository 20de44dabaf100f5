// SPDX-License-Identifier: Apache-2.0 OR MIT

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

use super::*;

fn packet(bytes: u64) -> Count {
    Count { packets: 1, bytes }
}

fn rational(n: u64) -> BigRational {
    BigRational::from_integer(BigInt::from(n))
}

/// The RFCs' algorithms in rational arithmetic: token buckets that fill as time passes.
struct Model {
    config: MeterConfig,
    at_ns: u64,
    committed: BigRational,
    other: BigRational,
}

impl Model {
    fn new(config: MeterConfig) -> Model {
        let (c, o) = match config {
            MeterConfig::TwoRates {
                committed_burst,
                peak_burst,
                ..
            } => (committed_burst, peak_burst),
            MeterConfig::OneRate {
                committed_burst,
                excess_burst,
                ..
            } => (committed_burst, excess_burst),
        };
        Model {
            config,
            at_ns: 0,
            committed: rational(c),
            other: rational(o),
        }
    }

    fn mark(&mut self, now_ns: u64, amount: u64, color: Color) -> Color {
        let seconds = rational(now_ns - self.at_ns) / rational(1_000_000_000);
        self.at_ns = now_ns;
        let amount = rational(amount);
        match self.config {
            MeterConfig::TwoRates {
                committed_rate,
                committed_burst,
                peak_rate,
                peak_burst,
            } => {
                let filled = &self.committed + rational(committed_rate) * &seconds;
                self.committed = filled.min(rational(committed_burst));
                let filled = &self.other + rational(peak_rate) * &seconds;
                self.other = filled.min(rational(peak_burst));
                if color == Color::Red || self.other < amount {
                    return Color::Red;
                }
                self.other -= &amount;
                if color == Color::Yellow || self.committed < amount {
                    return Color::Yellow;
                }
                self.committed -= amount;
                Color::Green
            }
            MeterConfig::OneRate {
                committed_rate,
                committed_burst,
                excess_burst,
            } => {
                let filled = &self.committed + rational(committed_rate) * &seconds;
                self.committed = filled.clone().min(rational(committed_burst));
                let over = filled - &self.committed;
                self.other = (&self.other + over).min(rational(excess_burst));
                if color == Color::Green && self.committed >= amount {
                    self.committed -= amount;
                    return Color::Green;
                }
                if color != Color::Red && self.other >= amount {
                    self.other -= amount;
                    return Color::Yellow;
                }
                Color::Red
            }
        }
    }
}

fn config() -> impl Strategy<Value = MeterConfig> {
    let rate = prop_oneof![
        0u64..20,
        1_000u64..2_000_000,
        1_000_000_000u64..50_000_000_000
    ];
    let burst = || 0u64..10_000;
    prop_oneof![
        (rate.clone(), burst(), rate.clone(), burst()).prop_map(|(a, b, c, d)| {
            MeterConfig::TwoRates {
                committed_rate: a.min(c),
                committed_burst: b,
                peak_rate: a.max(c),
                peak_burst: d,
            }
        }),
        (rate, burst(), burst()).prop_map(|(a, b, c)| MeterConfig::OneRate {
            committed_rate: a,
            committed_burst: b,
            excess_burst: c,
        }),
    ]
}

proptest! {
    /// Every mark equals the model's, for any sequence of packets, also if other meters go on with the levels.
    #[test]
    fn marks_are_the_rfcs(
        config in config(),
        start in any::<u32>(),
        packets in prop::collection::vec(
            (prop_oneof![0u64..1_000, 0u64..2_000_000_000], 0u64..2_000, 0u8..8, 0u64..500),
            1..60,
        ),
    ) {
        let new = || {
            let cell = MeterCell::default();
            cell.set(Some(config)).unwrap();
            cell
        };
        let mut cell = new();
        let mut model = Model::new(config);
        let mut now = u64::from(start);
        model.at_ns = now;
        for (wait, amount, color, later) in packets {
            let next = new();
            if let Some(levels) = cell.levels(now) {
                next.set_levels(&levels, now + later.min(wait));
            }
            cell = next;
            now += wait;
            // Most packets are uncolored.
            let color = match color {
                0 => Color::Red,
                1 => Color::Yellow,
                _ => Color::Green,
            };
            let marked = cell.mark(now, amount, color);
            prop_assert_eq!(marked, model.mark(now, amount, color));
            prop_assert!(marked >= color);
        }
    }
}

#[test]
fn cores_share_a_bucket() {
    let meter = Meter::new(MeterUnit::Packets, 2);
    let rates = MeterConfig::OneRate {
        committed_rate: 0,
        committed_burst: 1_000,
        excess_burst: 500,
    };
    meter.set(1, Some(rates)).unwrap();
    let counts: Vec<[usize; 3]> = std::thread::scope(|scope| {
        let one = || {
            let mut counts = [0; 3];
            for now in 0..1_000 {
                counts[meter.mark(1, now, packet(64), Color::Green) as usize] += 1;
            }
            counts
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let sum = |n: usize| counts.iter().map(|c| c[n]).sum::<usize>();
    assert_eq!([sum(0), sum(1), sum(2)], [1_000, 500, 1_500]);
}

#[test]
fn without_rates_packets_keep_their_color() {
    let meter = Meter::new(MeterUnit::Bytes, 2);
    assert_eq!(meter.mark(0, 5, packet(1_500), Color::Green), Color::Green);
    assert_eq!(
        meter.mark(9, 5, packet(1_500), Color::Yellow),
        Color::Yellow
    );
    assert!(matches!(meter.set(2, None), Err(ObjectError::Index { .. })));
    let wrong = MeterConfig::TwoRates {
        committed_rate: 10,
        committed_burst: 1,
        peak_rate: 9,
        peak_burst: 1,
    };
    let error = meter.set(0, Some(wrong)).unwrap_err().to_string();
    assert!(error.contains("peak rate 9"), "{error}");
    assert_eq!(meter.get(0), Ok(None));
}
