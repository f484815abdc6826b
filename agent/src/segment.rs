//! Pure: the MTU of all that hangs on cbr0, and how far cbr0 itself follows the machine's.
//!
//! A bridge port and a veth drop what is larger than the receiver's MTU without a word, so all ends of
//! all pods' links share one device MTU, which stays while an attachment lives. cbr0 alone follows the
//! machine down: what leaves the segment is fragmented there, or its sender is told. New pods know it
//! beforehand, by their routes.

use std::fmt;

use common::names;

/// MTUs in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Of both ends of every pod's link.
    pub device: u32,
    /// What the machine has room for.
    pub machine: u32,
}

impl Segment {
    /// With `ports`, the MTUs of the links that live on cbr0, and `machine`, what it would have without.
    pub fn of(machine: u32, ports: impl IntoIterator<Item = u32>) -> Self {
        Self { device: ports.into_iter().min().unwrap_or(machine), machine }
    }

    /// Of cbr0 itself: above the device MTU it would send what a pod's end drops without a word.
    pub fn bridge(self) -> u32 {
        self.machine.min(self.device)
    }

    /// Of a new pod's routes that leave the segment; none where the device's will do.
    pub fn routes(self) -> Option<u32> {
        (self.machine < self.device).then_some(self.machine)
    }

    /// What can't be until the last of the attachments has ended.
    pub fn held_back(self) -> Option<HeldBack> {
        (self.machine > self.device).then_some(HeldBack(self))
    }
}

/// cbr0 has not the MTU that the machine has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack(Segment);

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Segment { device, machine } = self.0;
        write!(
            f,
            "{} and new pods keep MTU {device}, though this machine has room for {machine}: pods live \
             there that have no more, and all of a segment must have the same, until the last has ended",
            names::BRIDGE
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(machine: u32, ports: &[u32], device: u32, bridge: u32, routes: Option<u32>) {
        let segment = Segment::of(machine, ports.iter().copied());
        assert_eq!((segment.device, segment.bridge(), segment.routes()), (device, bridge, routes));
    }

    #[test]
    fn a_segment_has_one_device_mtu() {
        check(1450, &[], 1450, 1450, None);
        check(1450, &[1450], 1450, 1450, None);
        check(1400, &[1450, 1450], 1450, 1400, Some(1400));
        check(9000, &[1450], 1450, 1450, None);
        check(1450, &[1500, 1400], 1400, 1400, None);
    }

    #[test]
    fn what_is_held_back_is_named() {
        assert_eq!(Segment::of(1400, [1450]).held_back(), None);
        let text = Segment::of(9000, [1450]).held_back().unwrap().to_string();
        assert!(text.contains("keep MTU 1450") && text.contains("room for 9000"), "{text}");
    }
}
