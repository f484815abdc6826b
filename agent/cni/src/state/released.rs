//! When addresses were released: nobody gets one soon after, while packets for its last holder are still
//! on their way and peers remember him.
//!
//! `pools/released-BLOCK` has a place for each of 65536 addresses, found by the last two bytes: eight
//! bytes, the time since the boot in nanoseconds. One that nobody has written is a hole and reads as
//! zero. So to note a release, and to ask for one, costs the same however many there were.
//!
//! The place is written before the address is free. Whoever gives addresses holds the lock, so that an
//! address is given to one at a time, and after its release was seen. A place that is lost, or makes no
//! sense, costs an address its rest and nothing else.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::{Lock, POOLS, State, existing_options, lock_options, locked};
use crate::error::{During, Error};

/// How long an address rests after its release: peers may go on sending to its last holder.
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(30);

/// Under [`POOLS`], with the first address of the block behind it.
const PREFIX: &str = "released-";

/// Under [`POOLS`]: no name of a range.
const LOCK_FILE: &str = "lock";

/// Nanoseconds since the boot, with the time that the machine slept.
type Time = u64;

/// What was released lately; the lock is held as long as this lives.
#[derive(Debug)]
pub(super) struct Released<'a> {
    _lock: File,
    state: &'a State,
    lately: RangeInclusive<Time>,
    /// The block that was asked last, and its file if there is one.
    block: Option<(IpAddr, Option<File>)>,
}

impl State {
    /// Notes that `addresses` are about to be free.
    pub(super) fn note_release(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let _lock = self.lock_addresses()?;
        let now = now()?.to_ne_bytes();
        addresses.iter().try_for_each(|&address| {
            let (block, place) = place(address);
            let path = self.block_path(block);
            let written = lock_options().open(&path);
            let written = written.and_then(|file| file.write_all_at(&now, place));
            written.during(|| format!("write {}", path.display()))
        })
    }

    /// What was released less than `cool_down` ago.
    pub(super) fn released(&self, cool_down: Duration) -> Result<Released<'_>, Error> {
        let lock = self.lock_addresses()?;
        Ok(Released { _lock: lock, state: self, lately: lately(cool_down)?, block: None })
    }

    /// The addresses that were released less than `cool_down` ago, as far as can be seen without the lock.
    pub(crate) fn seen_resting(&self, cool_down: Duration) -> Result<Vec<IpAddr>, Error> {
        let resting = self.resting(&lately(cool_down)?)?;
        Ok(resting.into_iter().map(|(_, address)| address).collect())
    }

    /// Whatever was released in this time, with the moment.
    fn resting(&self, lately: &RangeInclusive<Time>) -> Result<Vec<(Time, IpAddr)>, Error> {
        let mut resting = Vec::new();
        for name in self.file_names(POOLS)? {
            let block = name.strip_prefix(PREFIX).and_then(|block| block.parse().ok());
            let Some(block) = block else { continue };
            let path = self.block_path(block);
            let content = net::file::read(&path).during(|| format!("read {}", path.display()))?;
            resting.extend(read(block, &content.unwrap_or_default(), lately));
        }
        Ok(resting)
    }

    fn block_path(&self, block: IpAddr) -> PathBuf {
        self.path(POOLS).join(format!("{PREFIX}{block}"))
    }

    fn lock_addresses(&self) -> Result<File, Error> {
        locked(&self.path(POOLS).join(LOCK_FILE), Lock::Exclusive, "the addresses")
    }
}

impl Released<'_> {
    pub(super) fn has(&mut self, address: IpAddr) -> Result<bool, Error> {
        let (block, place) = place(address);
        let path = self.state.block_path(block);
        let what = || format!("read {}", path.display());
        let file = match self.block.take() {
            Some((open, file)) if open == block => file,
            _ => match existing_options().open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                opened => Some(opened.during(what)?),
            },
        };
        let mut bytes = [0; size_of::<Time>()];
        let length = file.as_ref().map_or(Ok(0), |file| file.read_at(&mut bytes, place));
        self.block = Some((block, file));
        let is_whole = length.during(what)? == bytes.len();
        Ok(is_whole && self.lately.contains(&Time::from_ne_bytes(bytes)))
    }

    /// All of them, the one that rests longest first.
    pub(super) fn oldest_first(&self) -> Result<Vec<IpAddr>, Error> {
        let mut all = self.state.resting(&self.lately)?;
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, address)| address).collect())
    }
}

/// The first address of the block that `address` is of, and where its place in the file begins.
fn place(address: IpAddr) -> (IpAddr, u64) {
    let (block, number) = match address {
        IpAddr::V4(address) => {
            let [.., high, low] = address.octets();
            let block = Ipv4Addr::from_bits(address.to_bits() & !u32::from(u16::MAX));
            (block.into(), u16::from_be_bytes([high, low]))
        }
        IpAddr::V6(address) => {
            let [.., number] = address.segments();
            (Ipv6Addr::from_bits(address.to_bits() & !u128::from(u16::MAX)).into(), number)
        }
    };
    (block, u64::from(number) * size_of::<Time>() as u64)
}

/// The address of that `number` in a block.
fn numbered(block: IpAddr, number: u16) -> IpAddr {
    match block {
        IpAddr::V4(block) => Ipv4Addr::from_bits(block.to_bits() | u32::from(number)).into(),
        IpAddr::V6(block) => Ipv6Addr::from_bits(block.to_bits() | u128::from(number)).into(),
    }
}

/// Those of a block that were released in this time, by the `content` of its file.
fn read(block: IpAddr, content: &[u8], lately: &RangeInclusive<Time>) -> Vec<(Time, IpAddr)> {
    let times = content.as_chunks().0.iter().map(|&bytes| Time::from_ne_bytes(bytes));
    let resting = (0..=u16::MAX).zip(times).filter(|(_, time)| lately.contains(time));
    resting.map(|(number, time)| (time, numbered(block, number))).collect()
}

/// Later than `cool_down` ago. A time that is yet to come was never written by us.
fn lately(cool_down: Duration) -> Result<RangeInclusive<Time>, Error> {
    let now = now()?;
    let cool_down = Time::try_from(cool_down.as_nanos()).unwrap_or(Time::MAX);
    Ok(now.saturating_sub(cool_down) + 1..=now)
}

fn now() -> Result<Time, Error> {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(io::Error::from);
    let since_boot = Duration::from(since_boot.during(|| "read the clock".to_owned())?);
    Ok(Time::try_from(since_boot.as_nanos()).unwrap_or(Time::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_place_of_its_own() {
        let check = |address: &str, block: &str, at: u64| {
            let address = address.parse().unwrap();
            assert_eq!(place(address), (block.parse().unwrap(), at));
            let number = u16::try_from(at / 8).unwrap();
            assert_eq!(numbered(block.parse().unwrap(), number), address);
        };
        check("10.244.0.0", "10.244.0.0", 0);
        check("10.244.1.2", "10.244.0.0", 258 * 8);
        check("10.245.255.255", "10.245.0.0", 65535 * 8);
        check("fd00:10:244:1::2", "fd00:10:244:1::", 16);
        check("fd00::1:ffff", "fd00::1:0", 65535 * 8);
    }

    #[test]
    fn a_time_that_is_long_ago_or_yet_to_come_does_not_count() {
        let times = [0, 100, 101, 200, 201, u64::MAX];
        let mut content = times.map(Time::to_ne_bytes).concat();
        // Of one that is cut off, nothing is known.
        content.extend([150; 5]);
        let resting = read("10.0.0.0".parse().unwrap(), &content, &(101..=200));
        let expected = [(101, "10.0.0.2"), (200, "10.0.0.3")];
        assert_eq!(resting, expected.map(|(time, ip)| (time, ip.parse().unwrap())));
        assert_eq!(read("fd00::".parse().unwrap(), &[], &(0..=200)), []);
    }
}
