#pragma once

// Each instruction set compiles a file of kernels once more: the three that matter on x86, and whatever other machines
// have. The states' layout needs vectors whose length is known when compiling.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_RVV)
