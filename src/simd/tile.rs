//! A group of samples with few classes, copied to the stack as classes by samples. So lanes are samples, whatever the
//! layout in memory is.
//!
//! Rows are transposed in registers. A vector consists of pieces of 128 bits, and loads each piece from another row. In
//! each piece, a few such vectors form a square that is transposed. The last piece of a row overlaps the one before it,
//! so nothing beyond the row is read or written.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::real::GROUP_BYTES;
use super::view::{In, Out, PlanesMut};
use super::{Lanes, Pack, Real, splat};

/// The largest number of classes in a [`Tile`].
pub const TILE_CLASSES: usize = 128;

/// Room for a group of samples.
#[repr(C, align(128))]
pub struct Tile<T>(MaybeUninit<[u8; TILE_CLASSES * GROUP_BYTES]>, PhantomData<T>);

/// Samples outside of a tile: `count` of them, `stride` apart, their classes `class_stride` apart.
#[derive(Clone, Copy)]
pub struct Samples {
    pub count: usize,
    pub stride: usize,
    pub classes: usize,
    pub class_stride: usize,
}

/// How a tile is written to memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Replace,
    /// Overwrites the contents, and writes whole cache lines around the caches.
    Stream,
    Add,
}

impl<T: Real> Tile<T> {
    #[inline(always)]
    pub fn new() -> Self {
        Tile(MaybeUninit::uninit(), PhantomData)
    }

    /// A tile with `classes` groups of zeros.
    #[inline(always)]
    pub fn zeros(&mut self, classes: usize) -> PlanesMut<'_, T> {
        assert!(classes <= TILE_CLASSES);
        let start = self.0.as_mut_ptr().cast::<T>();
        let len = classes * T::GROUP;
        // SAFETY: `len` elements are at most what the array holds, which is aligned for them; all of them are written
        let all = unsafe {
            start.write_bytes(0, len);
            Out::from_raw(start, len)
        };
        all.planes(0, classes, T::GROUP, T::GROUP)
    }
}

impl Samples {
    /// The number of elements from the first to the last.
    #[inline(always)]
    fn elements(&self) -> usize {
        (self.count - 1) * self.stride + (self.classes - 1) * self.class_stride + 1
    }

    /// Whether rows can be transposed in registers: their classes are contiguous and fill a piece.
    #[inline(always)]
    fn are_rows<S: Lanes, T: Real>(&self) -> bool {
        self.class_stride == 1 && self.classes >= T::PIECE && Pack::<S, T>::LANES >= T::PIECE
    }
}

impl<T: Real> PlanesMut<'_, T> {
    /// Copies samples to the lanes from `lane` on.
    #[inline(always)]
    pub fn fill<S: Lanes>(self, s: S, lane: usize, from: In<'_, T>, samples: Samples) {
        let Samples { count, stride, classes, class_stride } = samples;
        let from = from.slice(0, samples.elements());
        if stride == 1 && count == T::GROUP {
            for class in 0..classes {
                let from = from.part(class * class_stride, T::GROUP);
                let to = self.class::<true>(class);
                for i in 0..Pack::<S, T>::per_group() {
                    to.store(i, from.load(s, i));
                }
            }
            return;
        }
        if stride == 1 {
            for class in 0..classes {
                self.fill_class(class, lane, from.slice(class * class_stride, count));
            }
            return;
        }
        let mut done = 0;
        while samples.are_rows::<S, T>() && count - done >= Pack::<S, T>::LANES {
            self.fill_rows(s, lane + done, from.after(done * stride), stride, classes);
            done += Pack::<S, T>::LANES;
        }
        for i in done..count {
            for class in 0..classes {
                self.set(class, lane + i, from.get(i * stride + class * class_stride));
            }
        }
    }

    /// Copies the lanes from `lane` on to samples, or adds them there.
    #[inline(always)]
    pub fn put<S: Lanes>(self, s: S, lane: usize, to: Out<'_, T>, samples: Samples, put: Put) {
        let Samples { count, stride, classes, class_stride } = samples;
        let (to, add) = (to.slice(0, samples.elements()), put == Put::Add);
        if stride == 1 && count == T::GROUP && !add {
            for class in 0..classes {
                let from = self.as_planes().class::<true>(class);
                let to = to.part(class * class_stride, T::GROUP);
                let is_streamed = put == Put::Stream && to.is_aligned();
                for i in 0..Pack::<S, T>::per_group() {
                    let x = from.load(s, i);
                    if is_streamed { to.stream(i, x) } else { to.store(i, x) }
                }
            }
            return;
        }
        if stride == 1 && !add {
            for class in 0..classes {
                self.put_class(class, lane, to.slice(class * class_stride, count));
            }
            return;
        }
        let mut done = 0;
        while !add && samples.are_rows::<S, T>() && count - done >= Pack::<S, T>::LANES {
            self.put_rows(s, lane + done, to.after(done * stride), stride, classes);
            done += Pack::<S, T>::LANES;
        }
        for i in done..count {
            for class in 0..classes {
                let (at, x) = (i * stride + class * class_stride, self.as_planes().get(class, lane + i));
                to.set(at, if add { to.as_in().get(at) + x } else { x });
            }
        }
    }
}

impl<T: Real> PlanesMut<'_, T> {
    /// A vector of rows, transposed.
    #[inline(always)]
    fn fill_rows<S: Lanes>(self, s: S, lane: usize, from: In<'_, T>, stride: usize, classes: usize) {
        let lanes = Pack::<S, T>::LANES;
        let from = from.slice(0, (lanes - 1) * stride + classes).start();
        let to = self.lanes::<S>(lane, classes);
        let mut next = 0;
        while next < classes {
            let class = next.min(classes - T::PIECE);
            let mut square = [splat(s, T::ZERO).v; 4];
            for (row, vector) in square[..T::PIECE].iter_mut().enumerate() {
                // SAFETY: row and class are in the slice above, and so are the rows a piece further on, `lanes` in all
                *vector = unsafe { T::load_pieces(s, from.add(row * stride + class), T::PIECE * stride) };
            }
            for (k, vector) in T::transpose(s, square)[..T::PIECE].iter().enumerate() {
                // SAFETY: the class is one of those that `lanes` checked
                unsafe { to.add((class + k) * T::GROUP).cast::<T::V<S>>().write_unaligned(*vector) };
            }
            next += T::PIECE;
        }
    }

    /// The inverse.
    #[inline(always)]
    fn put_rows<S: Lanes>(self, s: S, lane: usize, to: Out<'_, T>, stride: usize, classes: usize) {
        let lanes = Pack::<S, T>::LANES;
        let to = to.slice(0, (lanes - 1) * stride + classes).start();
        let from = self.lanes::<S>(lane, classes);
        let mut next = 0;
        while next < classes {
            let class = next.min(classes - T::PIECE);
            let mut square = [splat(s, T::ZERO).v; 4];
            for (k, vector) in square[..T::PIECE].iter_mut().enumerate() {
                // SAFETY: the class is one of those that `lanes` checked
                *vector = unsafe { from.add((class + k) * T::GROUP).cast::<T::V<S>>().read_unaligned() };
            }
            for (row, vector) in T::transpose(s, square)[..T::PIECE].iter().enumerate() {
                // SAFETY: as for loading
                unsafe { T::store_pieces(s, to.add(row * stride + class), T::PIECE * stride, *vector) };
            }
            next += T::PIECE;
        }
    }
}
