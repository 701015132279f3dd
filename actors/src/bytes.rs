//! Bytes at the speed of memory: where encoders append them, and a question about all of them.

use std::io;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;

/// The end of a vector. Nothing that is written to it fails.
#[derive(Debug)]
pub struct End<'a>(pub &'a mut Vec<u8>);

impl End<'_> {
    /// Most of what is written is one byte, a small number or a quote: not worth a call of `memcpy`.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match bytes {
            [byte] => self.0.push(*byte),
            _ => self.0.extend_from_slice(bytes),
        }
    }
}

impl Writer for End<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.put(bytes);
        Ok(())
    }
}

impl io::Write for End<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether all bytes are such. It is asked about every one, also behind the first that is not: the compiler then asks about
/// many at a time, which is faster for long texts that nearly always fit.
pub fn all(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |fits, byte| fits & is_such(*byte))
}

/// Whether all of a text is visible ASCII, `!` to `~`; an empty one is.
#[must_use]
pub fn is_visible(text: &[u8]) -> bool {
    all(text, |byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_appended_whole() {
        let mut bytes = vec![1];
        let mut end = End(&mut bytes);
        io::Write::write_all(&mut end, &[]).expect("it cannot fail");
        io::Write::write_all(&mut end, &[2]).expect("it cannot fail");
        assert_eq!(io::Write::write(&mut end, &[3, 4, 5]).expect("it cannot fail"), 3);
        Writer::write(&mut end, &[6]).expect("it cannot fail");
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn one_byte_that_is_not_such_is_found_wherever_it_is() {
        for length in [1, 15, 16, 17, 200] {
            let mut text = vec![b'a'; length];
            assert!(is_visible(&text));
            for at in 0..length {
                text[at] = b' ';
                assert!(!is_visible(&text), "{at} of {length}");
                text[at] = b'a';
            }
        }
        assert!(all(&[], |_| false));
    }
}
