"""Randomness by number: the same key and number give the same value on every machine, in any order.

Only whole-number operations and single IEEE additions and multiplications are used, no reduction whose order a
processor may choose and no function of its mathematics library, so that a seed makes the same market everywhere.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GOLDEN, _FIRST, _SECOND = (
    np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)  # fmt: skip
_LANE = np.uint64(0xFFFF)
_LANES_MEAN = 2.0 * 65_535
_LANES_SPREAD = math.sqrt((65_536.0**2 - 1) / 3)  # standard deviation of the sum of four 16-bit numbers
_TERMS = tuple(1.0 / math.factorial(n) for n in range(11, -1, -1))
_LN2 = 0.6931471805599453


def key_of(*parts: object) -> int:
    """A key from what names a sequence."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def span(first: int, count: int) -> Ints:
    """`count` numbers from `first` on."""
    return np.arange(first, first + count, dtype=np.int64)


def bits(key: int, numbers: Ints) -> npt.NDArray[np.uint64]:
    """64 random bits for each number (splitmix64)."""
    mixed = numbers.astype(np.uint64)
    mixed *= _GOLDEN
    mixed += np.uint64(key)
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def normals(key: int, numbers: Ints) -> Floats:
    """For each number a value of mean 0 and deviation 1, nearly normal, within 3.5."""
    drawn = bits(key, numbers)
    total = drawn & _LANE
    for shift in (16, 32, 48):
        total += (drawn >> np.uint64(shift)) & _LANE
    return (total.astype(np.float64) - _LANES_MEAN) / _LANES_SPREAD


def wave(key: int, numbers: Ints, length: int) -> Floats:
    """Noise that changes smoothly: a normal value every `length` numbers (a power of two), straight lines between.

    Precondition: `numbers` ascend without gaps.
    """
    shift = length.bit_length() - 1
    first = int(numbers[0]) >> shift
    knots = normals(key, span(first, (int(numbers[-1]) >> shift) - first + 2))
    at = (numbers >> shift) - first
    part = (numbers & (length - 1)) * (1.0 / length)
    left: Floats = knots[at]
    risen: Floats = left + (knots[at + 1] - left) * part
    return risen


def exp2(values: Floats) -> Floats:
    """Two to the power of each value, to fourteen digits."""
    whole = np.rint(values)
    part = (values - whole) * _LN2
    result = np.full_like(part, _TERMS[0])
    for term in _TERMS[1:]:
        result *= part
        result += term
    return np.asarray(np.ldexp(result, whole.astype(np.int32)), dtype=np.float64)
