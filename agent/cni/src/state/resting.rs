//! Addresses that rest: nobody gets one soon after it was released, while packets for its last holder
//! are still on their way and peers remember him.
//!
//! `resting` has a line for each release: the address, and the time since the boot in nanoseconds. The
//! line is there before the address is free. Whoever gives addresses holds the file's lock, so that an
//! address is given to one at a time, and after its line was seen. A line that is lost, or makes no
//! sense, costs an address its rest and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::{Lock, State, locked};
use crate::error::{During, Error};

pub(super) const RESTING: &str = "resting";

/// How long an address rests after its release: peers may go on sending to its last holder.
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(30);

/// Of a longer file the lines that are out of date are removed, in bytes.
const LONG: usize = 32 << 10;

/// The addresses that rest; the lock is held as long as this lives.
#[derive(Debug)]
pub(super) struct Resting {
    _lock: File,
    /// When each was released, in nanoseconds since the boot.
    released: BTreeMap<IpAddr, u128>,
}

impl State {
    /// Notes that `addresses` are about to be free.
    pub(super) fn rest(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let mut file = self.lock_resting()?;
        let now = now().during(|| "read the clock".to_owned())?;
        let lines = addresses.iter().map(|address| format!("{address} {now}\n"));
        let written = file.seek(SeekFrom::End(0));
        let written = written.and_then(|_| file.write_all(lines.collect::<String>().as_bytes()));
        written.during(|| format!("write {RESTING}"))
    }

    /// What was released less than `cool_down` ago.
    pub(super) fn resting(&self, cool_down: Duration) -> Result<Resting, Error> {
        let mut file = self.lock_resting()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).during(|| format!("read {RESTING}"))?;
        let since = now().during(|| "read the clock".to_owned())?;
        let since = since.saturating_sub(cool_down.as_nanos());
        let released = read(&String::from_utf8_lossy(&text), since);
        if text.len() > LONG {
            let lines = released.iter().map(|(address, time)| format!("{address} {time}\n"));
            let lines = lines.collect::<String>();
            let written = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
            let written = written.and_then(|_| file.write_all(lines.as_bytes()));
            written.during(|| format!("shorten {RESTING}"))?;
        }
        Ok(Resting { _lock: file, released })
    }

    /// What was released less than `cool_down` ago, as far as can be seen without the lock.
    pub(crate) fn seen_resting(&self, cool_down: Duration) -> Result<Vec<IpAddr>, Error> {
        let path = self.path(RESTING);
        let text = net::file::read(&path).during(|| format!("read {}", path.display()))?;
        let since = now().during(|| "read the clock".to_owned())?;
        let since = since.saturating_sub(cool_down.as_nanos());
        let text = text.unwrap_or_default();
        Ok(read(&String::from_utf8_lossy(&text), since).into_keys().collect())
    }

    fn lock_resting(&self) -> Result<File, Error> {
        locked(&self.path(RESTING), Lock::Exclusive, "the addresses")
    }
}

impl Resting {
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.released.contains_key(&address)
    }

    /// All of them, the one that rests longest first.
    pub(super) fn oldest_first(&self) -> Vec<IpAddr> {
        let mut all = self.released.iter().collect::<Vec<_>>();
        all.sort_by_key(|&(address, time)| (time, address));
        all.into_iter().map(|(&address, _)| address).collect()
    }
}

/// The lines that are later than `since`; of two for one address the last counts.
fn read(text: &str, since: u128) -> BTreeMap<IpAddr, u128> {
    let lines = text.lines().filter_map(|line| {
        let (address, time) = line.split_once(' ')?;
        Some((address.parse().ok()?, time.parse().ok()?))
    });
    lines.filter(|&(_, time)| time > since).collect()
}

/// Nanoseconds since the boot, with the time that the machine slept.
fn now() -> io::Result<u128> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_old_or_senseless_do_not_count() {
        let check = |text: &str, expected: &[(&str, u128)]| {
            let expected = expected.iter().map(|&(ip, time)| (ip.parse().unwrap(), time));
            assert_eq!(read(text, 100), expected.collect::<BTreeMap<IpAddr, u128>>());
        };
        check("", &[]);
        check("10.0.0.2 100\n10.0.0.3 101\n", &[("10.0.0.3", 101)]);
        check("fd00::2 200\nfd00::2 300\n", &[("fd00::2", 300)]);
        check("10.0.0.2\nx 200\n10.0.0.3 x\n\u{fffd}\n10.0.0.4 20", &[]);
    }
}
