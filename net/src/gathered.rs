//! Writes that others follow at once, made into few.
//!
//! HTTP/2 sends what is large in frames, of 16 KiB if the other side does not ask for more, and no common client does. h2
//! writes and flushes each by itself, and each passes through the whole network stack and wakes whoever reads: a third of
//! what a server spends that sends rows.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that go together.
const GATHERED_BYTES: usize = 64 << 10;

/// A write of so many bytes is a frame of something larger. Smaller ones, which end it or are all, never wait.
const PART_BYTES: usize = 16 << 10;

/// A stream whose large writes are gathered. They go when enough have come together, with the first small one, or when
/// nothing else comes from whoever writes.
#[derive(Debug)]
pub(crate) struct Gathered<S> {
    inner: S,
    waiting: Vec<u8>,
    /// How many of the bytes that wait are written.
    written: usize,
    /// Whether the last write was a part, so that a flush can wait for the next.
    is_followed: bool,
}

impl<S> Gathered<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, waiting: Vec::new(), written: 0, is_followed: false }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes all that waits.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Sees to it that so many bytes can wait; whether they are to.
    fn poll_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<bool>> {
        if self.waiting.len() + bytes > GATHERED_BYTES {
            ready!(self.poll_write_out(cx))?;
        }
        self.is_followed = (PART_BYTES..GATHERED_BYTES).contains(&bytes);
        let waits = self.is_followed || !self.waiting.is_empty();
        if waits {
            self.waiting.reserve_exact(GATHERED_BYTES - self.waiting.len());
        }
        Poll::Ready(Ok(waits))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if !ready!(this.poll_room(cx, bytes))? {
            return Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        }
        bufs.iter().for_each(|buf| this.waiting.extend_from_slice(buf));
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_followed) {
            // If nothing follows after all, whoever writes comes back once more, and flushes again.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Notes what is written, and at times has no room.
    #[derive(Default)]
    struct Noted {
        bytes: Vec<u8>,
        writes: usize,
        /// How many bytes it takes at once, and nothing every other time; all if there is no limit.
        at_most: Option<usize>,
        is_full: bool,
        flushes: usize,
    }

    impl AsyncWrite for Noted {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            this.is_full = this.at_most.is_some() && !this.is_full;
            if this.is_full {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = this.at_most.map_or(buf.len(), |most| most.min(buf.len()));
            this.bytes.extend_from_slice(&buf[..taken]);
            this.writes += 1;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.get_mut().flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn flush_once(stream: &mut Gathered<Noted>) {
        poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await.unwrap();
    }

    /// Writes and flushes pieces of these sizes, as h2 does; returns all bytes.
    async fn write(stream: &mut Gathered<Noted>, sizes: &[usize]) -> Vec<u8> {
        let mut all = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            let piece: Vec<u8> = (0..*size).map(|byte| (byte * 7 + n) as u8).collect();
            stream.write_all(&piece).await.unwrap();
            flush_once(stream).await;
            all.extend(piece);
        }
        all
    }

    #[tokio::test]
    async fn frames_of_something_large_go_together_and_what_is_left_of_them_with_the_last() {
        let mut stream = Gathered::new(Noted::default());
        let all = write(&mut stream, &[vec![PART_BYTES + 9; 10], vec![100]].concat()).await;
        assert!(stream.inner.bytes == all);
        assert_eq!((stream.inner.writes, stream.inner.flushes), (4, 1));
        // Nothing follows, and whoever writes comes back.
        let all = [all, write(&mut stream, &[PART_BYTES]).await].concat();
        assert!(stream.inner.bytes.len() < all.len());
        flush_once(&mut stream).await;
        assert!(stream.inner.bytes == all);
    }

    #[tokio::test]
    async fn what_is_small_or_very_large_does_not_wait() {
        let mut stream = Gathered::new(Noted::default());
        let all = write(&mut stream, &[1, 200, PART_BYTES - 1, GATHERED_BYTES, 3 * GATHERED_BYTES]).await;
        assert!(stream.inner.bytes == all);
        assert_eq!((stream.inner.writes, stream.inner.flushes, stream.waiting.capacity()), (5, 5, 0));
    }

    #[tokio::test]
    async fn all_bytes_arrive_in_order_however_slow_the_other_side_is() {
        let sizes: Vec<usize> = (0..60).map(|n| (n * n * 7919) % (GATHERED_BYTES + 5000) + 1).collect();
        for at_most in [None, Some(1000), Some(17), Some(50_000)] {
            let mut stream = Gathered::new(Noted { at_most, ..Noted::default() });
            let all = write(&mut stream, &sizes).await;
            stream.shutdown().await.unwrap();
            assert!(stream.inner.bytes == all, "{at_most:?}");
        }
    }
}
