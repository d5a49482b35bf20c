//! The room of a file system, and when it is so little that somebody is warned.

/// Where a tenth of the file system is more than this, less than this is little: what a day of a busy instance writes.
const LITTLE_BYTES: u64 = 1024 * 1024 * 1024;

/// The room of a file system in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What whoever serves may still write.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

impl DiskSpace {
    /// Below which room somebody is warned: a tenth of the file system, or 1 GiB where that is less.
    pub const fn low_below(self) -> u64 {
        let tenth = self.size / 10;
        if tenth < LITTLE_BYTES { tenth } else { LITTLE_BYTES }
    }

    /// Whether so little is left that somebody is warned.
    pub const fn is_low(self) -> bool {
        self.free < self.low_below()
    }

    /// Whether there is so much again that a warning has passed: a quarter more than what it began below, so that one who writes and
    /// deletes around that is warned once.
    pub const fn is_ample(self) -> bool {
        self.free >= self.low_below() / 4 * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn a_tenth_is_little_and_never_more_than_a_gibibyte() {
        for (free, size, is_low, is_ample) in [
            (GIB - 1, 32 * GIB, true, false),
            (GIB, 32 * GIB, false, false),
            (GIB + GIB / 4, 32 * GIB, false, true),
            (GIB / 10 - 1, GIB, true, false),
            (GIB / 4, GIB, false, true),
            (0, GIB, true, false),
            // A file system that has no size, as some of the kernel's own, is full of nothing.
            (0, 0, false, true),
        ] {
            let disk = DiskSpace { free, size };
            assert_eq!((disk.is_low(), disk.is_ample()), (is_low, is_ample), "{disk:?}");
        }
    }
}
