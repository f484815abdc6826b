//! Pure: how much traffic a pod may send and receive, as the kernel's token buckets count it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Limits of one attachment, seen from the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bandwidth {
    /// What it receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Limit>,
    /// What it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Limit>,
}

/// A token bucket: of IP packets; the kernel counts no link header, and the IP header of a segmented
/// packet once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    pub bytes_per_second: u64,
    /// How many bytes may go at once after a pause.
    pub burst: u32,
}

/// What one direction is asked to be limited to, in bits, as the runtime counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub bits_per_second: u64,
    /// In bits; none if it is left to us.
    pub burst: Option<u64>,
}

/// The rates that a kubelet takes from an annotation: 1 kbit/s to 1 Pbit/s
/// (`validateBandwidthIsReasonable` in pkg/util/bandwidth/utils.go of Kubernetes).
pub const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// An Ethernet header, with a VLAN's tag.
const FRAME_HEADER: u64 = 18;

/// Two dozen frames of 1500 bytes: with less, TCP does not get going on a slow link.
const LEAST_QUEUE: u32 = 36_000;

impl Bandwidth {
    pub const fn is_unlimited(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

impl Limit {
    /// The bucket for a link of this `mtu`, in bytes.
    ///
    /// A runtime asks for bursts of 2^31 bits or more because nobody has set one: such a bucket would let
    /// seconds pass before it limits anything. So it holds 100 ms of the rate at most, and 10 ms at least,
    /// below which a busy machine does not serve it in time; and always two frames, because a frame that
    /// is larger than the bucket is dropped.
    pub fn new(rate: Rate, mtu: u32) -> Self {
        let bytes_per_second = rate.bits_per_second / 8;
        let frames = 2 * (u64::from(mtu) + FRAME_HEADER);
        let least = frames.max(bytes_per_second / 100);
        let most = least.max(bytes_per_second / 10);
        let burst = rate.burst.map_or(most, |bits| (bits / 8).clamp(least, most));
        Self { bytes_per_second, burst: u32::try_from(burst).unwrap_or(u32::MAX) }
    }

    /// Whether it is `other` but for what the kernel loses of a burst when it counts it in ticks.
    pub fn is_about(&self, other: &Self) -> bool {
        let lost = self.burst.abs_diff(other.burst);
        self.bytes_per_second == other.bytes_per_second && lost <= other.burst / 100 + 1
    }

    /// How many bytes may wait: 50 ms of the rate, or some frames.
    pub fn queue(&self) -> u32 {
        u32::try_from(self.bytes_per_second / 20).unwrap_or(u32::MAX).max(LEAST_QUEUE)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bits, burst) = (u128::from(self.bytes_per_second) * 8, self.burst);
        write!(f, "{bits} bit/s with bursts of {burst} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bits_per_second: u64, burst: Option<u64>, mtu: u32, expected: (u64, u32, u32)) {
        let limit = Limit::new(Rate { bits_per_second, burst }, mtu);
        assert_eq!((limit.bytes_per_second, limit.burst, limit.queue()), expected);
    }

    #[test]
    fn a_burst_is_a_tenth_of_a_second_at_most() {
        let whole = (2_500_000, 250_000, 125_000);
        check(20_000_000, None, 1500, whole);
        check(20_000_000, Some(u64::from(u32::MAX)), 1500, whole);
        check(20_000_000, Some(800_000), 1500, (2_500_000, 100_000, 125_000));
        check(20_000_000, Some(8), 1500, (2_500_000, 25_000, 125_000));
    }

    #[test]
    fn a_slow_bucket_holds_two_frames() {
        check(1_000, None, 1500, (125, 3_036, 36_000));
        check(1_000, Some(8), 9000, (125, 18_036, 36_000));
        check(1_000, None, 65_535, (125, 131_106, 36_000));
    }

    #[test]
    fn a_fast_bucket_is_as_large_as_the_kernel_can_count() {
        check(1_000_000_000_000_000, None, 1500, (125_000_000_000_000, u32::MAX, u32::MAX));
    }
}
