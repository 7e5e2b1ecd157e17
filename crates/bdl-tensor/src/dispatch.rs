//! The door to wider instruction sets: one body, compiled several times, chosen at run time.
//!
//! A body written with plain multiplications and additions gives the same bits at every level, because
//! Rust never contracts `a * b + c`. Products and `exp_f64` ask for fused operations, and say so through
//! [`Isa`]: their bits are equal at all levels that have them.

/// The instruction set that a body is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What the target guarantees: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 and FMA.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx2,
    /// AVX-512F.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx512,
}

/// How `matrixmultiply` rounds at a [`Level`].
pub(crate) trait Isa {
    /// Sums are chains of fused multiply-adds.
    const FUSED: bool;
    /// A stored product is `1·ab + 0`, which turns a sum that underflowed to −0 into +0.
    const ADDS_ZERO: bool;
    /// There are 32 registers of 16 numbers.
    const WIDE: bool;
}

/// [`Level::Baseline`]. NEON always has fused operations; SSE2 and AVX have none.
pub(crate) struct Baseline;
impl Isa for Baseline {
    const FUSED: bool = cfg!(target_arch = "aarch64");
    const ADDS_ZERO: bool = false;
    const WIDE: bool = false;
}

/// [`Level::Avx2`].
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) struct Avx2;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
impl Isa for Avx2 {
    const FUSED: bool = true;
    const ADDS_ZERO: bool = true;
    const WIDE: bool = false;
}

/// [`Level::Avx512`].
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) struct Avx512;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
impl Isa for Avx512 {
    const FUSED: bool = true;
    const ADDS_ZERO: bool = false;
    const WIDE: bool = true;
}

/// The best level of this machine, in the order in which `matrixmultiply` asks.
///
/// The standard library caches what the processor answers: this costs two loads and two branches.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = forced::get() {
        return level;
    }
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        if is_x86_feature_detected!("avx512f") {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// Defines functions whose body is compiled for every [`Level`] and chosen by [`level`].
///
/// `fn f<I>(…)` makes the [`Isa`] known to the body as `I`.
macro_rules! dispatched {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident $(<$isa:ident>)? (
        $($arg:ident : $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body$(<$isa: $crate::dispatch::Isa>)?($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body$(::<$crate::dispatch::isa!($isa Avx512)>)?($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body$(::<$crate::dispatch::isa!($isa Avx2)>)?($($arg),*)
                }
                match $crate::dispatch::level() {
                    // SAFETY: `level` answers `Avx512` only where `avx512f` was detected.
                    $crate::dispatch::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `level` answers `Avx2` only where `avx2` and `fma` were detected.
                    $crate::dispatch::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::dispatch::Level::Baseline => {}
                }
            }
            body$(::<$crate::dispatch::isa!($isa Baseline)>)?($($arg),*)
        }
    )*};
}
pub(crate) use dispatched;

/// The type for a level; takes the name of the parameter so that it repeats with it.
macro_rules! isa {
    ($param:ident $level:ident) => {
        $crate::dispatch::$level
    };
}
pub(crate) use isa;

#[cfg(test)]
pub(crate) mod forced {
    use std::cell::Cell;

    use super::{Level, level};

    thread_local!(static FORCED: Cell<Option<Level>> = const { Cell::new(None) });

    pub(super) fn get() -> Option<Level> {
        FORCED.get()
    }

    /// The levels this machine can run, best last.
    pub(crate) fn levels() -> Vec<Level> {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        match level() {
            Level::Avx512 => return vec![Level::Baseline, Level::Avx2, Level::Avx512],
            Level::Avx2 => return vec![Level::Baseline, Level::Avx2],
            Level::Baseline => {}
        }
        vec![level()]
    }

    /// Runs `f` once per level, on this thread.
    pub(crate) fn at_each_level<T>(f: impl Fn() -> T) -> Vec<(Level, T)> {
        let run = |level| {
            FORCED.set(Some(level));
            let out = f();
            FORCED.set(None);
            (level, out)
        };
        levels().into_iter().map(run).collect()
    }

    /// Asserts that `f` gives the same answer at every level.
    pub(crate) fn assert_levels_agree<T: PartialEq + std::fmt::Debug>(what: &str, f: impl Fn() -> T) {
        let all = at_each_level(f);
        for (level, out) in &all[1..] {
            assert_eq!(out, &all[0].1, "{what}: {level:?} differs from {:?}", all[0].0);
        }
    }

    #[test]
    fn a_forced_level_is_the_one_that_runs() {
        for (level, seen) in at_each_level(level) {
            assert_eq!(seen, level);
        }
    }
}
