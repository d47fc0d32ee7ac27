//! Views of memory that kernels read and write: a pointer and a length, checked once for each group.
//!
//! Slices are not sufficient: a gradient may overwrite its input, and rows of different shards may lie between each
//! other. The creator of a view makes the promises of a slice, except exclusiveness; users of a view need no `unsafe`.

use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::real::GROUP_BYTES;
use super::{Lanes, MAX_GROUP, Pack, Real, first_lanes, pack, prefetch};

/// Elements to be read.
pub struct In<'a, T> {
    start: *const T,
    len: usize,
    life: PhantomData<&'a Cell<T>>,
}

/// Elements to be written (and read back).
#[derive(Debug)]
pub struct Out<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a Cell<T>>,
}

impl<T> Clone for In<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for In<'_, T> {}
impl<T> Clone for Out<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Out<'_, T> {}

// SAFETY: as like a `&[T]`, except that an `Out` may write the same elements. The contract of the constructors is that
// only one task accesses an element that is written; drivers give each task its own samples.
unsafe impl<T: Sync> Send for In<'_, T> {}
unsafe impl<T: Sync> Sync for In<'_, T> {}
unsafe impl<T: Send> Send for Out<'_, T> {}
unsafe impl<T: Send> Sync for Out<'_, T> {}

impl<'a, T> From<&'a [T]> for In<'a, T> {
    fn from(slice: &'a [T]) -> Self {
        In { start: slice.as_ptr(), len: slice.len(), life: PhantomData }
    }
}

impl<'a, T> From<&'a mut [T]> for Out<'a, T> {
    fn from(slice: &'a mut [T]) -> Self {
        Out { start: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }
}

/// Both views of one slice, for results that overwrite their input.
pub fn in_place<T>(slice: &mut [T]) -> (In<'_, T>, Out<'_, T>) {
    let out = Out::from(slice);
    (In { start: out.start, len: out.len, life: PhantomData }, out)
}

impl<'a, T: Copy> In<'a, T> {
    /// # Safety
    /// `start` is aligned and valid for reading `len` elements for `'a`, and nobody outside of the
    /// call that the view is made for writes them meanwhile.
    #[cfg_attr(not(feature = "capi"), allow(dead_code))]
    pub unsafe fn from_raw(start: *const T, len: usize) -> Self {
        In { start, len, life: PhantomData }
    }

    pub fn len(self) -> usize {
        self.len
    }

    pub(super) fn start(self) -> *const T {
        self.start
    }

    /// Whether both begin at the same address.
    pub fn begins_with(self, out: Out<'_, T>) -> bool {
        core::ptr::eq(self.start, out.start)
    }

    /// The elements from `at` on, `len` of them.
    #[inline(always)]
    pub fn slice(self, at: usize, len: usize) -> Self {
        assert!(at <= self.len && len <= self.len - at, "view out of range");
        // SAFETY: in range, just checked
        In { start: unsafe { self.start.add(at) }, len, life: PhantomData }
    }

    /// The elements from `at` on.
    #[inline(always)]
    pub fn after(self, at: usize) -> Self {
        self.slice(at, self.len - at.min(self.len))
    }

    #[inline(always)]
    pub fn get(self, at: usize) -> T {
        assert!(at < self.len, "view out of range");
        // SAFETY: in range, just checked
        unsafe { self.start.add(at).read() }
    }
}

impl<'a, T: Copy> Out<'a, T> {
    pub fn len(self) -> usize {
        self.len
    }

    /// # Safety
    /// `start` is aligned and valid for reading and writing `len` elements for `'a`, and nobody
    /// outside of the call that the view is made for touches them meanwhile.
    #[cfg_attr(not(feature = "capi"), allow(dead_code))]
    pub unsafe fn from_raw(start: *mut T, len: usize) -> Self {
        Out { start, len, life: PhantomData }
    }

    pub(super) fn start(self) -> *mut T {
        self.start
    }

    /// The same elements, for reading.
    #[inline(always)]
    pub fn as_in(self) -> In<'a, T> {
        In { start: self.start, len: self.len, life: PhantomData }
    }

    #[inline(always)]
    pub fn slice(self, at: usize, len: usize) -> Self {
        assert!(at <= self.len && len <= self.len - at, "view out of range");
        // SAFETY: in range, just checked
        Out { start: unsafe { self.start.add(at) }, len, life: PhantomData }
    }

    /// The elements from `at` on.
    #[inline(always)]
    pub fn after(self, at: usize) -> Self {
        self.slice(at, self.len - at.min(self.len))
    }

    #[inline(always)]
    pub fn set(self, at: usize, x: T) {
        assert!(at < self.len, "view out of range");
        // SAFETY: in range, just checked
        unsafe { self.start.add(at).write(x) }
    }

    /// Copies as many elements as there are.
    pub fn copy_from(self, from: In<'_, T>) {
        assert!(from.len == self.len, "view out of range");
        // SAFETY: both have that many elements; they may overlap
        unsafe { self.start.copy_from(from.start, self.len) }
    }

    pub fn fill(self, x: T) {
        for i in 0..self.len {
            // SAFETY: in range
            unsafe { self.start.add(i).write(x) }
        }
    }
}

/// The elements of a group in memory, for reading: all of them, or fewer at the end of an array.
#[derive(Clone, Copy)]
pub struct Group<'a, T> {
    start: *const T,
    len: usize,
    life: PhantomData<&'a Cell<T>>,
}

/// The elements of a group in memory, for writing.
#[derive(Clone, Copy)]
pub struct GroupMut<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a Cell<T>>,
}

impl<'a, T: Real> In<'a, T> {
    /// The first `len` elements of the group that begins at `at`.
    #[inline(always)]
    pub fn part(self, at: usize, len: usize) -> Group<'a, T> {
        assert!(len <= T::GROUP);
        Group { start: self.slice(at, len).start, len, life: PhantomData }
    }

    /// `count` whole groups, from the first element on.
    #[inline(always)]
    pub fn groups(self, count: usize) -> Groups<'a, T> {
        assert!(count <= self.len / T::GROUP, "view out of range");
        Groups { start: self.start, count, life: PhantomData }
    }

    /// The vector that begins at `at`, of which only the first `lanes` are read; the others are 0.
    #[inline(always)]
    pub fn load<S: Lanes>(self, s: S, at: usize, lanes: usize) -> Pack<S, T> {
        self.part(at, lanes).load(s, 0)
    }
}

impl<'a, T: Real> Out<'a, T> {
    #[inline(always)]
    pub fn part(self, at: usize, len: usize) -> GroupMut<'a, T> {
        assert!(len <= T::GROUP);
        GroupMut { start: self.slice(at, len).start, len, life: PhantomData }
    }

    /// `count` whole groups, from the first element on.
    #[inline(always)]
    pub fn groups(self, count: usize) -> GroupsMut<'a, T> {
        assert!(count <= self.len / T::GROUP, "view out of range");
        GroupsMut { start: self.start, count, life: PhantomData }
    }

    /// Writes the first `lanes` lanes of a vector, from `at` on.
    #[inline(always)]
    pub fn store<S: Lanes>(self, at: usize, lanes: usize, x: Pack<S, T>) {
        self.part(at, lanes).store(0, x);
    }
}

/// Bytes of a cache line; a group has two.
pub const CACHE_LINE: usize = 64;
/// A number of bytes that exceeds the size of the caches.
const LARGE: usize = 32 << 20;

impl<'a, T: Real> In<'a, T> {
    /// Whether results that are computed from these elements should be written around the caches: they are too large
    /// for the caches, and do not overwrite these elements, which are in the caches already.
    pub fn streams_to(self, out: Out<'_, T>) -> bool {
        self.is_large() && !self.begins_with(out)
    }

    /// Whether it is too large for the caches.
    pub fn is_large(self) -> bool {
        size_of::<T>() * self.len >= LARGE
    }

    /// Prefetches the cache lines of a group of elements, which may be beyond the last one.
    #[inline(always)]
    pub fn prefetch(self, at: usize) {
        self.prefetch_line(at);
        self.prefetch_line(at + CACHE_LINE / size_of::<T>());
    }

    /// Prefetches the cache line of an element.
    #[inline(always)]
    pub fn prefetch_line(self, at: usize) {
        prefetch(self.start.wrapping_add(at).cast());
    }
}

/// Consecutive whole groups. (If a loop goes through several arrays with the same number of groups, the compiler needs
/// only the condition of the loop as a bounds check.)
#[derive(Clone, Copy)]
pub struct Groups<'a, T> {
    start: *const T,
    count: usize,
    life: PhantomData<&'a Cell<T>>,
}

/// The same, for writing.
#[derive(Clone, Copy)]
pub struct GroupsMut<'a, T> {
    start: *mut T,
    count: usize,
    life: PhantomData<&'a Cell<T>>,
}

impl<'a, T: Real> Groups<'a, T> {
    #[inline(always)]
    pub fn get(self, index: usize) -> Group<'a, T> {
        assert!(index < self.count, "view out of range");
        // SAFETY: in range, just checked, by the check in `In::groups`
        Group { start: unsafe { self.start.add(index * T::GROUP) }, len: T::GROUP, life: PhantomData }
    }

    /// Prefetches the cache lines of a group, which may be beyond the last one.
    #[inline(always)]
    pub fn prefetch(self, index: usize) {
        let start = self.start.wrapping_add(index * T::GROUP);
        prefetch(start.cast());
        prefetch(start.wrapping_add(T::GROUP / 2).cast());
    }
}

impl<'a, T: Real> GroupsMut<'a, T> {
    /// No groups.
    #[inline(always)]
    pub fn none() -> Self {
        GroupsMut { start: core::ptr::dangling_mut(), count: 0, life: PhantomData }
    }

    #[inline(always)]
    pub fn get(self, index: usize) -> GroupMut<'a, T> {
        assert!(index < self.count, "view out of range");
        // SAFETY: in range, just checked, by the check in `Out::groups`
        GroupMut { start: unsafe { self.start.add(index * T::GROUP) }, len: T::GROUP, life: PhantomData }
    }
}

/// The number of lanes of the `i`-th vector that a group of `len` elements fills.
#[inline(always)]
fn lanes_of<S: Lanes, T: Real>(len: usize, i: usize) -> usize {
    let lanes = Pack::<S, T>::LANES;
    lanes.min(len.saturating_sub(i * lanes))
}

impl<T: Real> Group<'_, T> {
    /// The number of vectors; the last one may be incomplete.
    #[inline(always)]
    pub fn vectors<S: Lanes>(self) -> usize {
        self.len.div_ceil(Pack::<S, T>::LANES)
    }

    /// The `i`-th vector of the group; lanes beyond the end of the group are 0.
    #[inline(always)]
    pub fn load<S: Lanes>(self, s: S, i: usize) -> Pack<S, T> {
        let (all, lanes) = (Pack::<S, T>::LANES, lanes_of::<S, T>(self.len, i));
        // SAFETY: the group has `lanes` elements from there on, by the check in `lanes_of`; a vector type takes
        // any bits of its elements
        unsafe {
            let start = self.start.add((i * all).min(self.len));
            pack(
                s,
                match lanes == all {
                    true => start.cast::<T::V<S>>().read_unaligned(),
                    false => T::load_partial(s, core::slice::from_raw_parts(start, lanes)),
                },
            )
        }
    }

    /// The same, but lanes beyond the end are `rest`.
    #[inline(always)]
    pub fn load_or<S: Lanes>(self, s: S, i: usize, rest: Pack<S, T>) -> Pack<S, T> {
        self.or(i, self.load(s, i), rest)
    }

    /// The `i`-th vector and the one half a group further; lanes beyond the end of the group are `rest`.
    #[inline(always)]
    pub fn load_two<S: Lanes>(self, s: S, i: usize, rest: Pack<S, T>) -> [Pack<S, T>; 2] {
        let other = i + Pack::<S, T>::PER_GROUP / 2;
        [self.load_or(s, i, rest), if other < self.vectors::<S>() { self.load_or(s, other, rest) } else { rest }]
    }

    /// `x`, with `rest` in the lanes of the `i`-th vector that are beyond the end of the group.
    #[inline(always)]
    pub fn or<S: Lanes>(self, i: usize, x: Pack<S, T>, rest: Pack<S, T>) -> Pack<S, T> {
        let lanes = lanes_of::<S, T>(self.len, i);
        if lanes == Pack::<S, T>::LANES { x } else { first_lanes(x, lanes, rest) }
    }
}

impl<'a, T: Real> GroupMut<'a, T> {
    /// Writes the `i`-th vector of the group, up to the end of the group.
    #[inline(always)]
    pub fn store<S: Lanes>(self, i: usize, x: Pack<S, T>) {
        let (all, lanes) = (Pack::<S, T>::LANES, lanes_of::<S, T>(self.len, i));
        // SAFETY: the group has `lanes` elements from there on, by the check in `lanes_of`; the slice lives for
        // this store alone
        unsafe {
            let start = self.start.add((i * all).min(self.len));
            match lanes == all {
                true => start.cast::<T::V<S>>().write_unaligned(x.v),
                false => T::store_partial(x.s, core::slice::from_raw_parts_mut(start, lanes), x.v),
            }
        }
    }

    /// Writes the `i`-th vector and the one half a group further, if there is one.
    #[inline(always)]
    pub fn store_two<S: Lanes>(self, i: usize, x: [Pack<S, T>; 2]) {
        self.store(i, x[0]);
        let other = i + Pack::<S, T>::PER_GROUP / 2;
        if other < self.as_group().vectors::<S>() {
            self.store(other, x[1]);
        }
    }

    /// Writes the `i`-th vector of the group around the caches, if the group has all of its lanes.
    #[inline(always)]
    pub fn stream<S: Lanes>(self, i: usize, x: Pack<S, T>) {
        let all = Pack::<S, T>::LANES;
        if lanes_of::<S, T>(self.len, i) < all {
            return self.store(i, x);
        }
        // SAFETY: the group has a whole vector from there on, just checked
        unsafe { T::stream(x.s, self.start.add(i * all), x.v) }
    }

    /// Whether it begins at the start of a cache line.
    #[inline(always)]
    pub fn is_aligned(self) -> bool {
        self.start.addr().is_multiple_of(CACHE_LINE)
    }

    /// The same group, for reading.
    #[inline(always)]
    pub fn as_group(self) -> Group<'a, T> {
        Group { start: self.start, len: self.len, life: PhantomData }
    }
}

/// The elements of a group on the stack: for elements that do not fill a group, and for results that have not been
/// written to their array yet.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub struct Buffer<T>(pub [T; MAX_GROUP]);

impl<T: Real> Buffer<T> {
    #[inline(always)]
    pub fn new(x: T) -> Self {
        Buffer([x; MAX_GROUP])
    }
    #[inline(always)]
    pub fn group(&self) -> Group<'_, T> {
        Group { start: self.0.as_ptr(), len: T::GROUP, life: PhantomData }
    }
    #[inline(always)]
    pub fn group_mut(&mut self) -> GroupMut<'_, T> {
        GroupMut { start: self.0.as_mut_ptr(), len: T::GROUP, life: PhantomData }
    }
}

/// Room on the stack for the elements that one stage passes to the next at a time.
#[repr(C, align(128))]
pub struct Scratch<T, const BYTES: usize = 4096>(MaybeUninit<[u8; BYTES]>, PhantomData<T>);

impl<T: Real, const BYTES: usize> Scratch<T, BYTES> {
    /// The number of elements.
    pub const LEN: usize = BYTES / size_of::<T>();

    pub const fn new() -> Self {
        Scratch(MaybeUninit::uninit(), PhantomData)
    }

    /// The first `len` elements, set to 0. (They may be written and read in any order, so all are initialised.)
    pub fn zeros(&mut self, len: usize) -> Out<'_, T> {
        self.filled(len, T::ZERO)
    }

    /// The first `len` elements, set to `x`.
    #[inline]
    pub fn filled(&mut self, len: usize, x: T) -> Out<'_, T> {
        assert!(len <= Self::LEN);
        let start = self.0.as_mut_ptr().cast::<T>();
        for i in 0..len {
            // SAFETY: `len` elements are at most what the array holds, which is aligned for them
            unsafe { start.add(i).write(x) }
        }
        // SAFETY: as many elements, all of them written
        unsafe { Out::from_raw(start, len) }
    }
}

/// Room for an incomplete group that is filled up.
pub type GroupRoom<T> = Scratch<T, GROUP_BYTES>;

impl<T: Real, const BYTES: usize> Scratch<T, BYTES> {
    /// A copy of these elements.
    pub fn copied(&mut self, from: In<'_, T>) -> Out<'_, T> {
        assert!(from.len <= Self::LEN);
        let start = self.0.as_mut_ptr().cast::<T>();
        // SAFETY: as many elements as the array holds, which is aligned for them and overlaps nothing; all are written
        // before the view is made
        unsafe {
            start.copy_from_nonoverlapping(from.start, from.len);
            Out::from_raw(start, from.len)
        }
    }
}

impl<'a, T: Real> In<'a, T> {
    /// These elements, of which there is at least one, filled up to a group with copies of the last.
    #[inline]
    pub fn filled_up<'b>(self, room: &'b mut GroupRoom<T>) -> In<'b, T> {
        let room = room.filled(T::GROUP, self.get(self.len - 1));
        room.slice(0, self.len).copy_from(self);
        room.as_in()
    }
}

/// Classes of up to a group of samples: lane l of class j is at `j * stride + l`.
#[derive(Clone, Copy)]
pub struct Planes<'a, T> {
    start: *const T,
    classes: usize,
    stride: usize,
    len: usize,
    life: PhantomData<&'a Cell<T>>,
}

/// The same, for writing.
#[derive(Clone, Copy)]
pub struct PlanesMut<'a, T> {
    start: *mut T,
    classes: usize,
    stride: usize,
    len: usize,
    life: PhantomData<&'a Cell<T>>,
}

impl<'a, T: Real> In<'a, T> {
    /// `classes` classes of the `len` samples that begin at `at`.
    #[inline(always)]
    pub fn planes(self, at: usize, classes: usize, stride: usize, len: usize) -> Planes<'a, T> {
        assert!(classes > 0 && len <= T::GROUP);
        let start = self.slice(at, (classes - 1) * stride + len).start;
        Planes { start, classes, stride, len, life: PhantomData }
    }
}

impl<'a, T: Real> Out<'a, T> {
    #[inline(always)]
    pub fn planes(self, at: usize, classes: usize, stride: usize, len: usize) -> PlanesMut<'a, T> {
        assert!(classes > 0 && len <= T::GROUP);
        let start = self.slice(at, (classes - 1) * stride + len).start;
        PlanesMut { start, classes, stride, len, life: PhantomData }
    }
}

impl<'a, T: Real> Planes<'a, T> {
    /// The samples of a class. With `WHOLE` the planes are known to have a whole group of samples.
    #[inline(always)]
    pub fn class<const WHOLE: bool>(self, class: usize) -> Group<'a, T> {
        assert!(class < self.classes && (!WHOLE || self.len == T::GROUP));
        let len = if WHOLE { T::GROUP } else { self.len };
        // SAFETY: a class below `classes` is in range, by the check in `planes`
        Group { start: unsafe { self.start.add(class * self.stride) }, len, life: PhantomData }
    }

    /// One element of one class.
    #[inline(always)]
    pub fn get(self, class: usize, lane: usize) -> T {
        assert!(class < self.classes && lane < self.len);
        // SAFETY: in range, just checked
        unsafe { self.start.add(class * self.stride + lane).read() }
    }

    /// For each sample, the element of the class that `class` says; 0 beyond the last sample. With `WHOLE` the planes
    /// are known to be those of a tile.
    #[inline(always)]
    pub fn pick<const WHOLE: bool>(self, class: &[usize; MAX_GROUP]) -> Buffer<T> {
        assert!(!WHOLE || (self.len == T::GROUP && self.stride == T::GROUP));
        let (len, stride) = if WHOLE { (T::GROUP, T::GROUP) } else { (self.len, self.stride) };
        let mut picked = Buffer::new(T::ZERO);
        let mut is_out = false;
        for &class in &class[..len] {
            is_out |= class >= self.classes;
        }
        assert!(!is_out);
        let mut lane = 0;
        while lane < len {
            // SAFETY: a class below `classes`, just checked, has `len` samples, by the check in `planes`
            picked.0[lane] = unsafe { self.start.add(class[lane] * stride + lane).read() };
            lane += 1;
        }
        picked
    }
}

impl<'a, T: Real> PlanesMut<'a, T> {
    #[inline(always)]
    pub fn as_planes(self) -> Planes<'a, T> {
        let PlanesMut { start, classes, stride, len, life } = self;
        Planes { start, classes, stride, len, life }
    }

    #[inline(always)]
    pub fn class<const WHOLE: bool>(self, class: usize) -> GroupMut<'a, T> {
        assert!(class < self.classes && (!WHOLE || self.len == T::GROUP));
        let len = if WHOLE { T::GROUP } else { self.len };
        // SAFETY: as in `Planes::class`
        GroupMut { start: unsafe { self.start.add(class * self.stride) }, len, life: PhantomData }
    }

    #[inline(always)]
    pub fn set(self, class: usize, lane: usize, x: T) {
        assert!(class < self.classes && lane < self.len);
        // SAFETY: in range, just checked
        unsafe { self.start.add(class * self.stride + lane).write(x) }
    }

    #[inline(always)]
    pub fn classes(self) -> usize {
        self.classes
    }

    /// Sets all elements to 0.
    pub fn clear(self) {
        for class in 0..self.classes {
            (0..self.len).for_each(|lane| self.set(class, lane, T::ZERO));
        }
    }

    /// In a tile: the position of the vector of lanes that begins at `lane`, in class 0. Classes are a group apart.
    #[inline(always)]
    pub(super) fn lanes<S: Lanes>(self, lane: usize, classes: usize) -> *mut T {
        let is_tile = self.stride == T::GROUP && self.len == T::GROUP;
        assert!(is_tile && classes <= self.classes && lane + Pack::<S, T>::LANES <= T::GROUP);
        // SAFETY: in range, just checked
        unsafe { self.start.add(lane) }
    }

    /// Copies the lanes of a class, from `lane` on, from or to contiguous elements.
    #[inline(always)]
    pub fn fill_class(self, class: usize, lane: usize, from: In<'_, T>) {
        assert!(class < self.classes && lane + from.len <= self.len);
        // SAFETY: in range, just checked; planes that are filled are on the stack, apart from what is copied
        unsafe { self.start.add(class * self.stride + lane).copy_from_nonoverlapping(from.start, from.len) }
    }
    #[inline(always)]
    pub fn put_class(self, class: usize, lane: usize, to: Out<'_, T>) {
        assert!(class < self.classes && lane + to.len <= self.len);
        // SAFETY: in range, just checked; planes that are filled are on the stack, apart from what is copied
        unsafe { self.start.add(class * self.stride + lane).copy_to_nonoverlapping(to.start, to.len) }
    }
}
