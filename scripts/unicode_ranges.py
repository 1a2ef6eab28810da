#!/usr/bin/env python3
"""Writes src/quanta/text/unicode_ranges.h from Python's unicodedata (or the package unicodedata2, if there).

Hugging Face's tokenizers 0.23 tells letters and numbers by Unicode 16 (Oniguruma's tables): pip install unicodedata2==16.0.0
"""
import pathlib

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

SPACES = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def char_class(c):
    if c in SPACES:  # the property White_Space
        return "S"
    category = unicodedata.category(chr(c))
    return {"L": "L", "N": "N", "M": "M"}.get(category[0], "C" if category == "Pc" else None)


def ranges(of):
    found = []
    for c in CODES:
        value = of(c)
        if not value:
            continue
        if found and found[-1][1] == c - 1 and found[-1][2] == value:
            found[-1][1] = c
        else:
            found.append([c, c, value])
    return found


def table(kind, name, rows):
    text = [("%X" % a if a < 10 else "0x%X" % a, b if isinstance(b, str) else "0x%X" % b, str(c)) for a, b, c in rows]
    body, line = [], " "
    for row in text:
        item = " {" + ", ".join(row) + "},"
        if len(line) + len(item) > 119:
            body.append(line)
            line = " "
        line += item
    return f"constexpr {kind} {name}[] = {{\n" + "\n".join(body + [line]) + "\n};\n"


def decompositions():
    for c in CODES:
        words = unicodedata.decomposition(chr(c)).split()
        if not words or words[0].startswith("<") or 0xAC00 <= c < 0xD7A4:
            continue
        first, second = int(words[0], 16), int(words[1], 16) if len(words) > 1 else 0
        # Singletons and exclusions are taken apart but never composed; they are marked by the sign bit.
        if unicodedata.normalize("NFC", chr(c)) != chr(c):
            yield c, first, "0x%X | kApart" % second if second else "kApart"
        else:
            yield c, first, "0x%X" % second


header = f"""// Written by scripts/unicode_ranges.py: Unicode {unicodedata.unidata_version}.
#pragma once

#include <cstdint>

// clang-format off
namespace quanta::unicode_data {{

/// Letters (L), numbers (N), marks (M), white space (S) and connecting punctuation (C); all others have no range.
enum RangeClass : uint8_t {{ L = 1, N, M, S, C }};
struct ClassRange {{ uint32_t first, last; RangeClass kind; }};
struct CombiningRange {{ uint32_t first, last; uint8_t combining_class; }};
/// One step of a canonical decomposition; Hangul syllables are computed.
struct Decomposition {{ uint32_t code, first, second; }};
constexpr uint32_t kApart = 1u << 31;  // taken apart, but never composed

{table("ClassRange", "kClassRanges", ranges(char_class))}
{table("CombiningRange", "kCombiningRanges", ranges(lambda c: unicodedata.combining(chr(c))))}
{table("Decomposition", "kDecompositions", list(decompositions()))}
}}  // namespace quanta::unicode_data
"""
(pathlib.Path(__file__).parent.parent / "src/quanta/text/unicode_ranges.h").write_text(header)
