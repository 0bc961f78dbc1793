// Sixteen floats side by side, and sixteen truths: the one vector type that the kernels are written in.
//
// The same names exist three times: on AVX-512 (one register), on AVX2 (two) and in the portable vectors of four that
// GCC and Clang map to NEON and others. Vectorisation is thereby certain: a rewrite cannot lose it silently. A Mask is
// one truth a lane; bits() gives them as an integer.
#pragma once

#include <cmath>
#include <cstdint>

namespace h3d {
constexpr int kLanes = 16;
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include "lanes_avx512.h"
#elif defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))
#include "lanes_avx2.h"
#else
#include "lanes_quads.h"
#endif

namespace h3d {

#if !(defined(__AVX512F__) && defined(__AVX512DQ__))
// A 16 x 16 matrix with rows and columns exchanged.
inline void transpose(float (*m)[kLanes]) {
    for (int i = 0; i < kLanes; i++) {
        for (int j = 0; j < i; j++) {
            const float x = m[i][j];
            m[i][j] = m[j][i];
            m[j][i] = x;
        }
    }
}

// Lane i is the sum of a[i]'s lanes.
inline Lanes sums_of(const Lanes (&a)[16]) {
    alignas(64) float sums[kLanes];
    for (int i = 0; i < kLanes; i++) sums[i] = sum(a[i]);
    return Lanes::load(sums);
}

// Sums over k below `count` of weights[k] * rows[k][channel], for three channels.
inline void weighted_sum(const float* weights, const float* rows, int count, float out[3]) {
    // Two sums a channel: one alone would wait for itself.
    float even[3] = {}, odd[3] = {};
    for (int c = 0; c < 3; c++) even[c] = weights[0] * rows[c];
    for (int k = 1; k + 1 < count; k += 2) {
        for (int c = 0; c < 3; c++) odd[c] += weights[k] * rows[3 * k + c];
        for (int c = 0; c < 3; c++) even[c] += weights[k + 1] * rows[3 * k + 3 + c];
    }
    if (count % 2 == 0) {
        for (int c = 0; c < 3; c++) odd[c] += weights[count - 1] * rows[3 * count - 3 + c];
    }
    for (int c = 0; c < 3; c++) out[c] = even[c] + odd[c];
}
#endif

inline Lanes operator*(float a, Lanes b) { return Lanes(a) * b; }
inline Lanes operator*(Lanes a, float b) { return a * Lanes(b); }
inline Lanes operator+(Lanes a, float b) { return a + Lanes(b); }
inline Lanes operator-(Lanes a, float b) { return a - Lanes(b); }
inline Lanes operator-(float a, Lanes b) { return Lanes(a) - b; }
inline Lanes operator+(float a, Lanes b) { return Lanes(a) + b; }

// 2^f for f in [0, 1), relative error below 2e-7 (degree 5, least maximum error with value 1 at 0).
inline Lanes exp2_fraction(Lanes f) {
    Lanes p(1.8671058e-3f);
    p = fma(p, f, Lanes(9.0170819e-3f));
    p = fma(p, f, Lanes(5.5799875e-2f));
    p = fma(p, f, Lanes(2.4016446e-1f));
    p = fma(p, f, Lanes(6.9315130e-1f));
    return fma(p, f, Lanes(1.0f));
}

// log2 of positive, finite, normal lanes, absolute error below 3e-7 (atanh series on [sqrt(1/2), sqrt(2))).
inline Lanes log2(Lanes x) {
    Lanes mantissa, exponent;
    split(x, mantissa, exponent);  // x = mantissa * 2^exponent, mantissa in [1, 2)
    const Mask high = mantissa > Lanes(1.41421356f);
    mantissa = select(high, mantissa * 0.5f, mantissa);
    exponent = select(high, exponent + 1.0f, exponent);
    const Lanes t = (mantissa - 1.0f) / (mantissa + 1.0f);
    const Lanes t2 = t * t;
    Lanes p(0.32059888f);                  // 2 / (9 ln 2)
    p = fma(p, t2, Lanes(0.41219857f));    // 2 / (7 ln 2)
    p = fma(p, t2, Lanes(0.57707801f));    // 2 / (5 ln 2)
    p = fma(p, t2, Lanes(0.96179669f));    // 2 / (3 ln 2)
    p = fma(p, t2, Lanes(2.88539008f));    // 2 / ln 2
    return fma(p, t, exponent);
}

}  // namespace h3d
