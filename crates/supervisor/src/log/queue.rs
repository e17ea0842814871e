//! What waits to be written: bounded for each service, oldest lines dropped first and counted.

use std::collections::VecDeque;

/// Bytes that may wait for each service.
const BOUND: usize = 1 << 20;

/// Lines that belong together in one block, so that dropping one costs little and loses little.
const BLOCK: usize = 32 << 10;

/// Whole records of one service.
struct Block {
    /// Order of arrival among all services.
    order: u64,
    bytes: Vec<u8>,
    lines: u64,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Block>,
    bytes: usize,
    /// Lines dropped since the writer was last told.
    gap: u64,
    /// The writer was waited for in vain; from here lines are dropped until half the queue is empty.
    dropping: bool,
}

/// One queue a service.
pub struct Queues {
    queues: Vec<Queue>,
    order: u64,
    dropped: u64,
}

/// What is to be written next.
pub struct Next {
    pub service: usize,
    /// Lines of this service that were dropped before these bytes.
    pub gap: u64,
    pub bytes: Vec<u8>,
    pub lines: u64,
}

impl Queues {
    pub fn new(services: usize) -> Queues {
        Queues { queues: (0..services).map(|_| Queue::default()).collect(), order: 0, dropped: 0 }
    }

    /// Appends whole records.
    pub fn push(&mut self, service: usize, bytes: &[u8], lines: u64) {
        self.order += 1;
        let queue = &mut self.queues[service];
        queue.dropping &= queue.bytes > BOUND / 2;
        queue.bytes += bytes.len();
        match queue.blocks.back_mut() {
            // Records join the block before them when nothing of another service came between.
            Some(block) if block.bytes.len() + bytes.len() <= BLOCK && block.order + 1 == self.order => {
                block.bytes.extend_from_slice(bytes);
                block.lines += lines;
                block.order = self.order;
            }
            _ => queue.blocks.push_back(Block { order: self.order, bytes: bytes.to_vec(), lines }),
        }
        while queue.bytes > BOUND
            && let Some(block) = queue.blocks.pop_front()
        {
            queue.bytes -= block.bytes.len();
            queue.gap += block.lines;
            self.dropped += block.lines;
        }
    }

    /// Whether so many bytes more of a service are worth a wait for the writer.
    pub fn should_wait(&self, service: usize, bytes: usize) -> bool {
        let queue = &self.queues[service];
        queue.bytes > 0 && queue.bytes + bytes > BOUND && !queue.dropping
    }

    /// The wait was in vain.
    pub fn give_up(&mut self, service: usize) {
        self.queues[service].dropping = true;
    }

    /// Takes the oldest block.
    pub fn pop(&mut self) -> Option<Next> {
        let oldest = |queue: &Queue| queue.blocks.front().map(|block| block.order);
        let service = (0..self.queues.len())
            .filter(|i| !self.queues[*i].blocks.is_empty())
            .min_by_key(|i| oldest(&self.queues[*i]))?;
        let queue = &mut self.queues[service];
        let block = queue.blocks.pop_front()?;
        queue.bytes -= block.bytes.len();
        Some(Next { service, gap: std::mem::take(&mut queue.gap), bytes: block.bytes, lines: block.lines })
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_first_is_written_first() {
        let mut queues = Queues::new(2);
        for (service, text) in [(0, "a\n"), (1, "b\n"), (1, "c\n"), (0, "d\n")] {
            queues.push(service, text.as_bytes(), 1);
        }
        let order: Vec<_> = std::iter::from_fn(|| queues.pop()).map(|next| (next.service, next.bytes)).collect();
        assert_eq!(order, vec![(0, b"a\n".to_vec()), (1, b"b\nc\n".to_vec()), (0, b"d\n".to_vec())]);
    }

    #[test]
    fn every_line_is_written_or_counted_and_memory_is_bounded() {
        let mut queues = Queues::new(2);
        queues.push(1, b"quiet\n", 1);
        let mut pushed = 0;
        for i in 0..100_000u64 {
            queues.push(0, format!("line {i:>60}\n").as_bytes(), 1);
            pushed += 1;
        }
        let mut written = 0;
        let mut counted = 0;
        let mut bytes = 0;
        let mut quiet = 0;
        while let Some(next) = queues.pop() {
            match next.service {
                0 => {
                    written += next.lines;
                    counted += next.gap;
                    bytes += next.bytes.len();
                    assert!(next.bytes.ends_with(b"\n"));
                }
                _ => quiet += next.lines,
            }
        }
        assert_eq!((written + counted, counted, quiet), (pushed, queues.dropped(), 1));
        assert!(bytes <= BOUND && counted > 0);
    }
}
