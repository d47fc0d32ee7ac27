//! The loops, on the widest vectors there are.
//!
//! What makes them fast, tried one by one: within the caches, four vectors a turn and aligned arrays; beyond them, stores
//! around the caches where something is written (up to twice as fast), and on Intel's CPUs four places of the array
//! walked at once by each core (a quarter more than one place; prefetching adds nothing to that). On Zen 4 one place is
//! faster. All are measured.

use super::vectors::{Loop, Stream, dispatch};
use losskit::{Element, Isa};
use std::marker::PhantomData;

/// What is read and written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Read1,
    Read2,
    Read1Write1,
    Read2Write1,
    /// Two arrays read, one of them written.
    InPlace,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Plain,
    /// Around the caches.
    Stream,
}

/// How a loop goes over its arrays.
#[derive(Clone, Copy)]
pub struct Way {
    store: Store,
    /// From front to back, where the arrays are no longer in the first cache; else at several places at once.
    is_linear: bool,
}

impl Way {
    pub fn name(self) -> &'static str {
        match (self.store, self.is_linear) {
            (Store::Plain, false) => "plain",
            (Store::Stream, false) => "stream",
            (Store::Plain, true) => "plain_linear",
            (Store::Stream, true) => "stream_linear",
        }
    }
}

impl Traffic {
    pub fn name(self) -> &'static str {
        match self {
            Traffic::Read1 => "read1",
            Traffic::Read2 => "read2",
            Traffic::Read1Write1 => "read1_write1",
            Traffic::Read2Write1 => "read2_write1",
            Traffic::InPlace => "inplace",
        }
    }

    /// How often an array goes by.
    pub fn arrays(self) -> usize {
        match self {
            Traffic::Read1 => 1,
            Traffic::Read2 | Traffic::Read1Write1 => 2,
            Traffic::Read2Write1 | Traffic::InPlace => 3,
        }
    }

    /// Those that may be the best.
    pub fn ways(self, isa: Isa, bytes: usize) -> Vec<Way> {
        let can_stream = [Isa::Avx2, Isa::Avx512].contains(&isa);
        let writes = !matches!(self, Traffic::Read1 | Traffic::Read2);
        let stores: &[Store] =
            if writes && can_stream && bytes > SMALL { &[Store::Plain, Store::Stream] } else { &[Store::Plain] };
        let linear: &[bool] = if bytes > LARGE { &[false, true] } else { &[false] };
        stores.iter().flat_map(|&store| linear.iter().map(move |&is_linear| Way { store, is_linear })).collect()
    }
}

/// Bytes that surely fit the caches.
const SMALL: usize = 1 << 16;
/// Bytes that surely do not.
const LARGE: usize = 1 << 24;
/// Bytes of a task: enough to be worth another thread, few enough to share out evenly.
const MIN_TASK: usize = 1 << 18;
const MAX_TASK: usize = 1 << 20;
/// Places of an array that are walked at once, where it is no longer in the first cache.
const PLACES: usize = 4;
/// Vectors a turn, at each place.
const UNROLLED: usize = 4;
const WORD: usize = size_of::<u32>();
/// Words that the longest turn takes.
const TURN: usize = UNROLLED * 64 / WORD;

/// A pass over arrays, as words of 32 bits.
pub struct Walk<'a> {
    traffic: Traffic,
    way: Way,
    first: *const u32,
    second: *const u32,
    output: *mut u32,
    words: usize,
    borrowed: PhantomData<&'a mut [u32]>,
}

// SAFETY: it stands for the slices it was made of, two shared and one exclusive, of numbers.
unsafe impl Send for Walk<'_> {}

impl<'a> Walk<'a> {
    /// Of arrays of one length. In place, `output` is the first that is read.
    pub fn new<T: Element>(traffic: Traffic, way: Way, [first, second]: [&'a [T]; 2], output: &'a mut [T]) -> Self {
        assert!(first.len() == second.len() && first.len() == output.len());
        assert!(output.as_ptr().cast::<u8>().align_offset(64) == 0, "streaming stores are aligned");
        let (words, output) = (size_of_val(output) / WORD, output.as_mut_ptr().cast());
        let first = if traffic == Traffic::InPlace { output } else { first.as_ptr().cast() };
        Walk { traffic, way, first, second: second.as_ptr().cast(), output, words, borrowed: PhantomData }
    }

    /// All threads of the current pool. Gives the exclusive or of what was read, unless it is written.
    pub fn run(self, isa: Isa) -> u32 {
        let a_share = self.words * WORD / rayon::current_num_threads();
        self.split(isa, a_share.div_ceil(2).clamp(MIN_TASK, MAX_TASK) / WORD)
    }

    fn split(self, isa: Isa, task: usize) -> u32 {
        if self.words <= task {
            return dispatch(isa, self);
        }
        let half = self.words / 2 / TURN * TURN;
        let (front, back) = (self.part(0, half), self.part(half, self.words - half));
        let (a, b) = rayon::join(|| front.split(isa, task), || back.split(isa, task));
        a ^ b
    }

    fn part(&self, start: usize, words: usize) -> Walk<'a> {
        assert!(start + words <= self.words);
        let [first, second] = [self.first, self.second].map(|array| array.wrapping_add(start));
        Walk { first, second, output: self.output.wrapping_add(start), words, ..*self }
    }
}

impl Loop for Walk<'_> {
    type Output = u32;
    #[inline(always)]
    fn run<S: Stream>(self, simd: S) -> u32 {
        let walk = self;
        let is_stream = walk.way.store == Store::Stream;
        match (walk.traffic, is_stream) {
            (Traffic::Read1, _) => walk.walk::<S, 1, NONE>(simd),
            (Traffic::Read2, _) => walk.walk::<S, 2, NONE>(simd),
            (Traffic::Read1Write1, false) => walk.walk::<S, 1, PLAIN>(simd),
            (Traffic::Read1Write1, true) => walk.walk::<S, 1, STREAM>(simd),
            (_, false) => walk.walk::<S, 2, PLAIN>(simd),
            (_, true) => walk.walk::<S, 2, STREAM>(simd),
        }
    }
}

const NONE: u8 = 0;
const PLAIN: u8 = 1;
const STREAM: u8 = 2;

impl Walk<'_> {
    #[inline(always)]
    fn walk<S: Stream, const READS: usize, const WRITES: u8>(&self, simd: S) -> u32 {
        let mut sums = [simd.splat_u32s(0); UNROLLED];
        let turn = UNROLLED * S::U32_LANES;
        // three arrays are better walked at one place as long as the second cache holds them
        let near = if READS == 2 && WRITES != NONE { 1 << 19 } else { SMALL };
        let done = if self.words * WORD > near && !self.way.is_linear {
            let place = self.words / PLACES / TURN * TURN;
            for at in (0..place).step_by(turn) {
                for i in 0..PLACES {
                    self.turn::<S, READS, WRITES, UNROLLED>(simd, i * place + at, &mut sums);
                }
            }
            PLACES * place
        } else {
            0
        };
        let whole = done + (self.words - done) / turn * turn;
        for at in (done..whole).step_by(turn) {
            self.turn::<S, READS, WRITES, UNROLLED>(simd, at, &mut sums);
        }
        let last = whole + (self.words - whole) / S::U32_LANES * S::U32_LANES;
        for at in (whole..last).step_by(S::U32_LANES) {
            self.turn::<S, READS, WRITES, 1>(simd, at, &mut sums);
        }
        let tail = self.tail::<READS, WRITES>(last);
        if WRITES == STREAM {
            simd.fence();
        }
        let lanes = |sum| pulp::bytemuck::cast_slice::<_, u32>(std::slice::from_ref(sum)).iter().fold(0, |a, b| a ^ b);
        sums.iter().fold(tail, |all, sum| all ^ lanes(sum))
    }

    /// `VECTORS` vectors from `at` on.
    #[inline(always)]
    fn turn<S: Stream, const READS: usize, const WRITES: u8, const VECTORS: usize>(
        &self,
        simd: S,
        at: usize,
        sums: &mut [S::u32s; UNROLLED],
    ) {
        debug_assert!(at + VECTORS * S::U32_LANES <= self.words);
        for (i, sum) in sums[..VECTORS].iter_mut().enumerate() {
            let at = at + i * S::U32_LANES;
            // SAFETY: within the arrays, which the callers see to, and streaming stores aligned: the output is, `part`
            // splits at whole turns, and so does every caller
            unsafe {
                let mut vector = self.first.add(at).cast::<S::u32s>().read_unaligned();
                if READS == 2 {
                    vector = simd.xor_u32s(vector, self.second.add(at).cast::<S::u32s>().read_unaligned());
                }
                match WRITES {
                    NONE => *sum = simd.xor_u32s(*sum, vector),
                    PLAIN => self.output.add(at).cast::<S::u32s>().write_unaligned(vector),
                    _ => simd.stream(self.output.add(at), vector),
                }
            }
        }
    }

    /// What is less than a vector.
    #[inline(always)]
    fn tail<const READS: usize, const WRITES: u8>(&self, start: usize) -> u32 {
        let mut sum = 0;
        for at in start..self.words {
            // SAFETY: within the arrays
            unsafe {
                let second = if READS == 2 { *self.second.add(at) } else { 0 };
                let word = *self.first.add(at) ^ second;
                if WRITES == NONE { sum ^= word } else { *self.output.add(at) = word }
            }
        }
        sum
    }
}
