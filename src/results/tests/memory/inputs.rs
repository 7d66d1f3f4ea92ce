//! Files of any size that exist nowhere.

use std::io::Read;

/// A head, one text again and again, and a tail: files of any size that exist nowhere.
pub(crate) struct Repeated<'t> {
    head: &'t [u8],
    unit: &'t [u8],
    times: u64,
    tail: &'t [u8],
    at: usize,
}

impl<'t> Repeated<'t> {
    pub(crate) fn new(head: &'t str, unit: &'t str, times: u64, tail: &'t str) -> Self {
        Self {
            head: head.as_bytes(),
            unit: unit.as_bytes(),
            times,
            tail: tail.as_bytes(),
            at: 0,
        }
    }

    /// So that it holds `bytes` in all.
    pub(crate) fn sized(head: &'t str, unit: &'t str, bytes: usize, tail: &'t str) -> Self {
        let times = u64::try_from(bytes / unit.len()).expect("a size");
        Self::new(head, unit, times, tail)
    }
}

impl Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut given = 0;
        while given < buffer.len() {
            if !self.head.is_empty() {
                let count = self.head.read(&mut buffer[given..])?;
                given += count;
                continue;
            }
            if self.times > 0 {
                let rest = &self.unit[self.at..];
                let count = rest.len().min(buffer.len() - given);
                buffer[given..given + count].copy_from_slice(&rest[..count]);
                given += count;
                self.at += count;
                if self.at == self.unit.len() {
                    self.at = 0;
                    self.times -= 1;
                }
                continue;
            }
            let count = self.tail.read(&mut buffer[given..])?;
            given += count;
            if count == 0 {
                break;
            }
        }
        Ok(given)
    }
}

/// Names that are all different, so that whatever remembers names is filled.
pub(crate) struct Numbered<F: FnMut(u64) -> String> {
    pub(crate) make: F,
    pub(crate) number: u64,
    pub(crate) pending: Vec<u8>,
    pub(crate) at: usize,
}

impl<F: FnMut(u64) -> String> Read for Numbered<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.pending.len() {
            self.pending = (self.make)(self.number).into_bytes();
            self.number += 1;
            self.at = 0;
        }
        let count = buffer.len().min(self.pending.len() - self.at);
        buffer[..count].copy_from_slice(&self.pending[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
