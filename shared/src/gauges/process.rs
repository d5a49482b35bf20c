//! What a process takes, by the texts that Linux has of it (proc(5)).

use std::time::Duration;

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUse {
    /// Bytes of memory that it has in use.
    pub resident_bytes: u64,
    /// Bytes of addresses that it has reserved; stacks of scripts are many, and mostly never real.
    pub virtual_bytes: u64,
    /// Its threads.
    pub threads: u64,
    /// What it has run on processors, in user and kernel mode.
    pub cpu: Duration,
    /// Files and sockets that it has open.
    pub open_files: Option<u64>,
    /// How many it may have open; `None` also where there is no limit.
    pub max_open_files: Option<u64>,
    /// Bytes that it has had the file systems write to a disk. Untold where the process may not read its own.
    pub written_bytes: Option<u64>,
}

/// The texts.
#[derive(Debug, Clone, Copy)]
pub struct ProcessTexts<'t> {
    /// `/proc/self/stat`.
    pub stat: &'t str,
    /// `/proc/self/io`, which is kept from processes that were given rights by their file.
    pub io: Option<&'t str>,
    /// Bytes of a page of memory.
    pub page_bytes: u64,
    /// Ticks of a second of processor time.
    pub ticks_per_second: u64,
}

impl ProcessTexts<'_> {
    /// What they tell; `None` where `stat` is not as Linux writes it.
    pub fn read(&self) -> Option<ProcessUse> {
        // The program's name stands in parentheses and may hold some of its own.
        let (_, fields) = self.stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The first of them is the third of proc(5), the state.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)?.checked_add(field(15)?)?;
        let seconds = ticks / self.ticks_per_second.max(1);
        let rest = ticks % self.ticks_per_second.max(1) * 1_000 / self.ticks_per_second.max(1);
        Some(ProcessUse {
            resident_bytes: field(24)?.saturating_mul(self.page_bytes),
            virtual_bytes: field(23)?,
            threads: field(20)?,
            cpu: Duration::from_secs(seconds) + Duration::from_millis(rest),
            open_files: None,
            max_open_files: None,
            written_bytes: self.io.and_then(written_bytes),
        })
    }
}

/// Bytes that were given to a disk to write, less those that were taken back before that.
fn written_bytes(io: &str) -> Option<u64> {
    let of = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(of("write_bytes:")?.saturating_sub(of("cancelled_write_bytes:").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (pi (cloud) x) S 1 4711 4711 0 -1 4194560 9000 0 12 0 250 51 0 0 20 0 14 0 8512 \
        5368709120 3000 18446744073709551615 1 1 0 0 0 0 0 4096 17582 0 0 0 17 1 0 0 0 0 0\n";
    const IO: &str =
        "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n";

    fn texts<'t>(stat: &'t str, io: Option<&'t str>) -> ProcessTexts<'t> {
        ProcessTexts { stat, io, page_bytes: 16_384, ticks_per_second: 100 }
    }

    #[test]
    fn what_a_process_takes_is_read_whatever_it_is_called() {
        let found = texts(STAT, Some(IO)).read().unwrap();
        assert_eq!((found.resident_bytes, found.virtual_bytes, found.threads), (3000 * 16_384, 5_368_709_120, 14));
        assert_eq!((found.cpu, found.written_bytes), (Duration::from_millis(3010), Some(4096)));
        assert_eq!(texts(STAT, None).read().unwrap().written_bytes, None);
    }

    #[test]
    fn what_is_no_such_text_tells_nothing() {
        for stat in ["", "1 (a)", "1 (a) S 1 2 3", "no parenthesis"] {
            assert_eq!(texts(stat, Some(IO)).read(), None, "{stat}");
        }
        assert_eq!(texts(STAT, Some("write_bytes: many\n")).read().unwrap().written_bytes, None);
    }
}
