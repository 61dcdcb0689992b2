//! Each operator against the plainest thing that says the same.

use proptest::prelude::*;

use super::*;

/// Samples in ascending time with values large and small and outliers, some of which are no numbers.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![
        10 => -1e6..1e6_f64,
        20 => -1.0..1.0_f64,
        1 => Just(1e12),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
    ];
    proptest::collection::vec((0..2000_u64, value), 0..120).prop_map(|steps| {
        let mut at_ms = 0;
        let place = |(step, value)| {
            at_ms += step;
            Sample::new(at_ms, value)
        };
        steps.into_iter().map(place).collect()
    })
}

fn numbers(samples: &[Sample]) -> Vec<Sample> {
    samples.iter().copied().filter(Sample::is_number).collect()
}

fn is_near(one: f64, other: f64, scale: f64) -> bool {
    (one - other).abs() <= 1e-9 * scale.max(1.0)
}

fn says_the_same(ours: &Statistics, values: &[f64]) -> bool {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    let largest = values
        .iter()
        .fold(0.0_f64, |largest, v| largest.max(v.abs()));
    // What there is to lose is of the order of these values alone, whatever was there before.
    let is_close = |one: f64, other: f64, scale: f64| (one - other).abs() <= 1e-9 * scale;
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    ours.count() == values.len() as u64
        && is_close(ours.mean(), mean, largest)
        && is_close(ours.variance(), variance, largest.powi(2))
        && (ours.min(), ours.max()) == (min, max)
}

proptest! {
    #[test]
    fn tumbling_windows_hold_what_lies_in_them(samples in samples(), length_ms in 1..5000_u64) {
        let mut tumbling = Tumbling::new(length_ms).unwrap();
        let mut windows: Vec<_> = samples.iter().filter_map(|s| tumbling.push(*s)).collect();
        windows.extend(tumbling.close_at(u64::MAX / 2));
        let kept = numbers(&samples);
        let mut told = 0;
        for window in &windows {
            prop_assert_eq!(window.to_ms - window.from_ms, length_ms);
            let range = window.from_ms..window.to_ms;
            let inside: Vec<_> =
                kept.iter().filter(|s| range.contains(&s.at_ms)).map(|s| s.value).collect();
            prop_assert!(says_the_same(&window.statistics, &inside));
            told += inside.len();
        }
        prop_assert_eq!(told, kept.len());
    }

    #[test]
    fn sessions_are_cut_at_silence_alone(samples in samples(), gap_ms in 1..2000_u64) {
        let mut session = Session::new(gap_ms).unwrap();
        let mut sessions: Vec<_> = samples.iter().filter_map(|s| session.push(*s)).collect();
        sessions.extend(session.close_at(u64::MAX));
        let kept = numbers(&samples);
        let naive: Vec<Vec<f64>> = kept
            .chunk_by(|a, b| b.at_ms - a.at_ms <= gap_ms)
            .map(|chunk| chunk.iter().map(|s| s.value).collect())
            .collect();
        prop_assert_eq!(sessions.len(), naive.len());
        for (ours, naive) in sessions.iter().zip(&naive) {
            prop_assert!(says_the_same(&ours.statistics, naive));
        }
    }

    #[test]
    fn a_sliding_window_is_recomputed_in_every_place(samples in samples(), length_ms in 1..9000_u64) {
        const N: usize = 8;
        let mut sliding = Sliding::<N>::new(length_ms).unwrap();
        let mut kept: Vec<Sample> = Vec::new();
        for sample in samples {
            let ours = sliding.push(sample);
            if !sample.is_number() {
                prop_assert!(ours.is_none());
                continue;
            }
            kept.push(sample);
            let oldest_ms = sample.at_ms.saturating_sub(length_ms);
            let mut inside: Vec<_> = kept.iter().filter(|s| s.at_ms >= oldest_ms).map(|s| s.value).collect();
            inside.drain(..inside.len().saturating_sub(N));
            prop_assert!(says_the_same(&ours.unwrap(), &inside));
        }
    }

    /// Whatever comes late: what windows say is what they say of the samples that came in time.
    #[test]
    fn time_that_goes_back_changes_nothing(
        samples in samples(),
        late in proptest::collection::vec((any::<prop::sample::Index>(), 1..9_000_u64, -1.0..1.0_f64), 0..20),
        length_ms in 1..5_000_u64,
    ) {
        let in_time: Vec<_> = samples.into_iter().filter(Sample::is_number).collect();
        // A late sample stands behind one that is so much later than it.
        let mut all = in_time.clone();
        let mut late: Vec<_> = late.into_iter().filter(|_| !in_time.is_empty()).map(|(index, by_ms, value)| {
            let behind = index.index(in_time.len());
            (behind, Sample::new(in_time[behind].at_ms.saturating_sub(by_ms), value))
        }).collect();
        late.sort_by_key(|(behind, _)| *behind);
        for (behind, sample) in late.into_iter().rev() {
            all.insert(behind + 1, sample);
        }
        let is_late = |all: &[Sample], at: usize| all[..at].iter().any(|before| before.at_ms > all[at].at_ms);
        let strictly: Vec<_> = (0..all.len()).filter(|at| !is_late(&all, *at)).map(|at| all[at]).collect();
        let run = |samples: &[Sample]| format!("{:?}", through(Sliding::<8>::new(length_ms).unwrap(), samples));
        prop_assert_eq!(run(&all), run(&strictly));
        // Tumbling windows and sessions take what is late while it is in the open one.
        let mut tumbling = Tumbling::new(length_ms).unwrap();
        let mut session = Session::new(length_ms).unwrap();
        let (mut windows, mut sessions, mut newest) = (Vec::new(), Vec::new(), 0);
        for sample in &all {
            windows.extend(tumbling.push(*sample));
            sessions.extend(session.close_at(newest));
            sessions.extend(session.push(*sample));
            newest = newest.max(sample.at_ms);
        }
        windows.extend(tumbling.close_at(u64::MAX / 2));
        sessions.extend(session.close_at(u64::MAX));
        prop_assert!(windows.windows(2).all(|pair| pair[0].to_ms <= pair[1].from_ms));
        prop_assert!(sessions.windows(2).all(|pair| pair[0].to_ms < pair[1].from_ms));
        let mut index = 0;
        let taken = all.iter().filter(|sample| {
            let own = sample.at_ms / length_ms;
            let is_taken = own >= index;
            index = index.max(own);
            is_taken
        });
        let told: u64 = windows.iter().map(|window| window.statistics.count()).sum();
        prop_assert_eq!(told, taken.count() as u64);
    }

    #[test]
    fn holding_what_a_deadband_passes_is_never_off_by_more(samples in samples(), width in 0.0..1e5_f64) {
        let mut deadband = Deadband::new(width).unwrap();
        let mut held = f64::NAN;
        for sample in samples {
            if let Some(passed) = deadband.push(sample) {
                held = passed.value;
            }
            if sample.is_number() {
                prop_assert!((held - sample.value).abs() <= width);
            }
        }
    }

    #[test]
    fn the_line_of_a_swinging_door_keeps_its_deviation(samples in samples(), deviation in 1.0..1e5_f64) {
        let mut door = SwingingDoor::new(deviation).unwrap();
        let mut corners: Vec<_> = samples.iter().filter_map(|s| door.push(*s)).collect();
        corners.extend(door.flush());
        let mut kept = numbers(&samples);
        kept.dedup_by_key(|sample| sample.at_ms);
        prop_assert!(corners.len() <= kept.len());
        for sample in kept {
            let after = corners.partition_point(|corner| corner.at_ms < sample.at_ms);
            let next = corners[after];
            let last = corners[after.saturating_sub(1)];
            let part = if next.at_ms == last.at_ms { 0.0 } else {
                (sample.at_ms - last.at_ms) as f64 / (next.at_ms - last.at_ms) as f64
            };
            let line = last.value + part * (next.value - last.value);
            let largest = line.abs().max(last.value.abs()).max(next.value.abs());
            prop_assert!((line - sample.value).abs() <= deviation * (1.0 + 1e-6) + 1e-14 * largest);
        }
    }

    #[test]
    fn averages_are_the_weighted_sums_they_stand_for(samples in samples(), weight in 0.01..1.0_f64) {
        let kept: Vec<_> = numbers(&samples).iter().map(|s| s.value).collect();
        let mut ewma = Ewma::new(weight).unwrap();
        let mut z = ZScore::new(weight).unwrap();
        let mut last = None;
        for sample in &samples {
            last = ewma.push(*sample).or(last);
            z.push(*sample);
        }
        let Some(last) = last else { return Ok(()) };
        // The first sample keeps all weight that the others leave.
        let weights: Vec<_> = (0..kept.len())
            .map(|index| {
                let age = i32::try_from(kept.len() - 1 - index).unwrap();
                (1.0 - weight).powi(age) * if index == 0 { 1.0 } else { weight }
            })
            .collect();
        let mean: f64 = weights.iter().zip(&kept).map(|(w, v)| w * v).sum();
        let variance: f64 = weights.iter().zip(&kept).map(|(w, v)| w * (v - mean).powi(2)).sum();
        let largest = kept.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
        prop_assert!((last.value - mean).abs() <= 1e-12 * largest);
        prop_assert!((z.mean() - mean).abs() <= 1e-12 * largest);
        prop_assert!((z.variance() - variance).abs() <= 1e-12 * largest.powi(2));
    }

    #[test]
    fn cusum_sums_are_the_largest_sum_of_any_recent_run(
        values in proptest::collection::vec(-5.0..5.0_f64, 1..60),
        slack in 0.0..1.0_f64,
    ) {
        let mut cusum = Cusum::new(0.0, slack, f64::MAX).unwrap();
        let mut step = None;
        for value in &values {
            step = cusum.push(Sample::new(0, *value));
        }
        let run = |sign: f64| {
            let mut best = 0.0_f64;
            let mut sum = 0.0;
            for value in values.iter().rev() {
                sum += sign * value - slack;
                best = best.max(sum);
            }
            best
        };
        let step = step.unwrap();
        prop_assert!(is_near(step.high, run(1.0), 1.0) && is_near(step.low, run(-1.0), 1.0));
    }

    #[test]
    fn rates_are_differences_over_time(samples in samples()) {
        let mut rate = RateOfChange::new();
        let mut kept = numbers(&samples);
        kept.dedup_by_key(|sample| sample.at_ms);
        let ours: Vec<_> = samples.iter().filter_map(|s| rate.push(*s)).collect();
        let naive = kept.windows(2).map(|pair| {
            (pair[1].value - pair[0].value) / ((pair[1].at_ms - pair[0].at_ms) as f64 / 1000.0)
        });
        prop_assert!(ours.iter().map(|s| s.value).eq(naive));
    }

    #[test]
    fn a_quantile_of_even_values_is_near_the_true_one(seed: u64, part in 0.05..0.95_f64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut quantile = Quantile::new(part).unwrap();
        let mut values: Vec<f64> = (0..2000).map(|_| random.f64()).collect();
        let mut ours = 0.0;
        for (index, value) in values.iter().enumerate() {
            ours = quantile.push(Sample::new(0, *value)).unwrap();
            if index < 5 {
                let mut few = values[..=index].to_vec();
                few.sort_by(f64::total_cmp);
                let count = few.len() as f64;
                let exact = few.into_iter().zip(1..).find(|(_, rank)| f64::from(*rank) >= part * count);
                prop_assert_eq!(ours, exact.unwrap().0);
            }
        }
        values.sort_by(f64::total_cmp);
        let rank = values.partition_point(|value| *value < ours) as f64 / 2000.0;
        prop_assert!((rank - part).abs() < 0.05, "{} for {}", rank, part);
    }

    /// Any operator on any bits at all: no panic, and what is no number leaves no trace.
    #[test]
    fn what_is_no_number_leaves_no_trace(bits in proptest::collection::vec(any::<u64>(), 0..40)) {
        let all: Vec<_> = (0..).zip(bits).map(|(at, bits)| Sample::new(at * 10, f64::from_bits(bits))).collect();
        let kept = numbers(&all);
        let run = |samples: &[Sample]| {
            let mut out = format!("{:?}", through(Tumbling::new(70).unwrap(), samples));
            out += &format!("{:?}", through(Session::new(5).unwrap(), samples));
            out += &format!("{:?}", through(Sliding::<5>::new(90).unwrap(), samples));
            out += &format!("{:?}", through(Deadband::new(1.0).unwrap(), samples));
            out += &format!("{:?}", through(SwingingDoor::new(1.0).unwrap(), samples));
            out += &format!("{:?}", through(Ewma::new(0.3).unwrap(), samples));
            out += &format!("{:?}", through(ZScore::new(0.3).unwrap(), samples));
            out += &format!("{:?}", through(Cusum::new(0.0, 1.0, 3.0).unwrap(), samples));
            out += &format!("{:?}", through(RateOfChange::new(), samples));
            out += &format!("{:?}", through(Quantile::new(0.5).unwrap(), samples));
            out += &format!("{:?}", through(HoltWinters::<3>::new(0.3, 0.1, 0.2).unwrap(), samples));
            out
        };
        prop_assert_eq!(run(&all), run(&kept));
    }
}

fn through<O: Operator>(mut operator: O, samples: &[Sample]) -> Vec<O::Output> {
    samples
        .iter()
        .filter_map(|sample| operator.push(*sample))
        .collect()
}

#[test]
fn a_season_with_trend_is_forecast_exactly_once_it_is_learned() {
    let mut model = HoltWinters::<4>::new(0.5, 0.3, 0.3).unwrap();
    let season = [3.0, -1.0, 4.0, -6.0];
    let mut last = 0.0_f64;
    for index in 0..400 {
        let value = 10.0 + 0.25 * f64::from(index) + season[index as usize % 4];
        if let Some(forecast) = model.push(Sample::new(0, value)) {
            last = forecast.residual;
        }
    }
    assert!(last.abs() < 1e-6, "{last}");
}

#[test]
fn settings_out_of_range_are_refused() {
    assert!(Deadband::new(-1.0).is_err() && Deadband::new(f64::NAN).is_err());
    assert!(Ewma::new(0.0).is_err() && ZScore::new(1.5).is_err());
    assert!(SwingingDoor::new(0.0).is_err() && Tumbling::new(0).is_err());
    assert!(Cusum::new(0.0, 0.1, 0.0).is_err() && Quantile::new(1.0).is_err());
    let error = HoltWinters::<4>::new(0.5, 2.0, 0.5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trend weight of 2 is refused: it must be between 0 and 1"
    );
}

/// One outlier that has left the window must not blur what is small.
#[test]
fn an_outlier_leaves_no_trace_in_a_sliding_window() {
    let mut sliding = Sliding::<64>::new(1_000).unwrap();
    let small = |at: u64| if at.is_multiple_of(2) { 0.001 } else { 0.003 };
    let mut last = None;
    for at in 0..60 {
        let value = if at == 5 { 1e9 } else { small(at) };
        last = sliding.push(Sample::new(at * 100, value));
    }
    let last = last.unwrap();
    assert_eq!(last.count(), 11);
    let mean = (0..11).map(|back| small(59 - back)).sum::<f64>() / 11.0;
    assert!((last.mean() - mean).abs() < 1e-15, "{}", last.mean());
    assert!(
        (last.deviation() - 0.001).abs() < 1e-5,
        "{}",
        last.deviation()
    );
}

#[test]
fn a_session_that_was_closed_stays_closed() {
    let mut session = Session::new(100).unwrap();
    session.push(Sample::new(1_000, 1.0));
    session.push(Sample::new(1_050, 2.0));
    assert_eq!(session.close_at(2_000).unwrap().statistics.count(), 2);
    for late in [900, 1_000, 1_050] {
        assert!(session.push(Sample::new(late, 3.0)).is_none());
    }
    assert!(session.close_at(u64::MAX).is_none(), "nothing was taken");
    session.push(Sample::new(1_051, 4.0));
    assert_eq!(session.close_at(u64::MAX).unwrap().from_ms, 1_051);
}

#[test]
fn the_first_step_off_a_flat_line_counts_in_the_least_deviation() {
    let mut z = ZScore::new(0.1).unwrap().deviation_min(0.5).unwrap();
    for at in 0..10 {
        assert_eq!(z.push(Sample::new(at, 20.0)), Some(0.0));
    }
    assert_eq!(z.push(Sample::new(10, 24.0)), Some(8.0));
    assert!(ZScore::new(0.1).unwrap().deviation_min(-1.0).is_err());
}

#[test]
fn a_season_keeps_its_phase_over_a_hole() {
    let season = [3.0, -1.0, 4.0, -6.0];
    let value = |index: u64| 10.0 + season[usize::try_from(index % 4).unwrap()];
    let plain = HoltWinters::<4>::new(0.5, 0.3, 0.3).unwrap();
    for (mut model, is_kept) in [(plain, false), (plain.every(1_000).unwrap(), true)] {
        // Jitter, and one reading that came twice.
        for index in 0..40 {
            model.push(Sample::new(index * 1_000 + index % 3 * 100, value(index)));
        }
        assert_eq!(model.push(Sample::new(39_050, 99.0)).is_none(), is_kept);
        if !is_kept {
            continue;
        }
        for index in [41, 42, 49, 1_000_003] {
            let forecast = model
                .push(Sample::new(index * 1_000, value(index)))
                .unwrap();
            assert!(forecast.residual.abs() < 1e-6, "{index}: {forecast:?}");
        }
    }
    // The first season is learned in one piece.
    let mut model = plain.every(1_000).unwrap();
    for index in [0, 1, 3, 4, 5, 6, 7, 8] {
        let forecast = model.push(Sample::new(index * 1_000, value(index)));
        assert_eq!(forecast.is_some(), index >= 7, "{index}");
    }
    assert!(plain.every(0).is_err());
}
