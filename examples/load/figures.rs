//! Figures as a person compares them.

use std::time::Duration;

/// A duration in milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// The part `share` of `times` is not longer than this.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    // Rounded down to a place that is there.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let place = (last as f64 * share) as usize;
    times.get(place.min(last)).copied().unwrap_or_default()
}

/// What a run of measurements comes to.
pub fn spread(times: &mut [Duration]) -> String {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| ms(quantile(times, share)));
    format!("p50 {p50}, p99 {p99}, longest {max} ({} times)", times.len())
}
