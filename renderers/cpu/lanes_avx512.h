// Lanes on AVX-512 (F and DQ): one 512-bit register, masks in mask registers.
#pragma once

#include <immintrin.h>

namespace h3d {

struct Mask {
    __mmask16 m = 0;
    static Mask from_bits(uint32_t bits) { return {static_cast<__mmask16>(bits)}; }
};
inline uint32_t bits(Mask a) { return a.m; }
inline bool any(Mask a) { return a.m != 0; }
inline Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.m & b.m)}; }
inline Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.m | b.m)}; }

struct Lanes {
    __m512 v;
    Lanes() = default;
    Lanes(__m512 x) : v(x) {}
    explicit Lanes(float x) : v(_mm512_set1_ps(x)) {}
    static Lanes load(const float* p) { return _mm512_load_ps(p); }    // 64-byte aligned
    void store(float* p) const { _mm512_store_ps(p, v); }
};
inline Lanes operator+(Lanes a, Lanes b) { return _mm512_add_ps(a.v, b.v); }
inline Lanes operator-(Lanes a, Lanes b) { return _mm512_sub_ps(a.v, b.v); }
inline Lanes operator*(Lanes a, Lanes b) { return _mm512_mul_ps(a.v, b.v); }
inline Lanes operator/(Lanes a, Lanes b) { return _mm512_div_ps(a.v, b.v); }
inline Lanes operator-(Lanes a) { return _mm512_sub_ps(_mm512_setzero_ps(), a.v); }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }    // a b + c
inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }  // c - a b
inline Lanes min(Lanes a, Lanes b) { return _mm512_min_ps(a.v, b.v); }  // b where a is NaN
inline Lanes max(Lanes a, Lanes b) { return _mm512_max_ps(a.v, b.v); }  // b where a is NaN
inline Lanes abs(Lanes a) { return _mm512_abs_ps(a.v); }
inline Lanes sqrt(Lanes a) { return _mm512_sqrt_ps(a.v); }
inline Lanes ceil(Lanes a) { return _mm512_roundscale_ps(a.v, 0x0A); }
inline Lanes floor(Lanes a) { return _mm512_roundscale_ps(a.v, 0x09); }
inline Mask operator<(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask operator<=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
inline Mask operator>(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
inline Mask operator>=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
inline Lanes select(Mask m, Lanes a, Lanes b) { return _mm512_mask_mov_ps(b.v, m.m, a.v); }
inline Lanes keep(Mask m, Lanes a) { return _mm512_maskz_mov_ps(m.m, a.v); }
inline float sum(Lanes a) { return _mm512_reduce_add_ps(a.v); }
inline float largest(Lanes a) { return _mm512_reduce_max_ps(a.v); }

inline Lanes exp2_fraction(Lanes f);

inline Lanes exp2(Lanes x) {
    return _mm512_scalef_ps(exp2_fraction(_mm512_reduce_ps(x.v, 0x09)).v, x.v);
}

inline void split(Lanes x, Lanes& mantissa, Lanes& exponent) {
    mantissa = _mm512_getmant_ps(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
    exponent = _mm512_getexp_ps(x.v);
}

// The same value rounded to the nearest integer, ties to even.
inline Lanes load_anywhere(const float* p) { return _mm512_loadu_ps(p); }  // of any alignment
inline void store_anywhere(Lanes a, float* p) { _mm512_storeu_ps(p, a.v); }
inline void store_rounded(Lanes a, int32_t* p) { _mm512_store_si512(p, _mm512_cvtps_epi32(a.v)); }

// A 16 x 16 matrix with rows and columns exchanged.
inline void transpose(float (*m)[kLanes]) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm512_load_ps(m[i]);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    // Row 4 i + j now has, in each quarter q, column 4 q + j of rows 4 i to 4 i + 3.
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; j++) {
            const __m512d low = _mm512_castps_pd(b[i + j]), high = _mm512_castps_pd(b[i + 2 + j]);
            a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    for (int j = 0; j < 4; j++) {
        const __m512 even = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88), odd = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd);
        const __m512 even2 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
        const __m512 odd2 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
        _mm512_store_ps(m[j], _mm512_shuffle_f32x4(even, even2, 0x88));
        _mm512_store_ps(m[8 + j], _mm512_shuffle_f32x4(even, even2, 0xdd));
        _mm512_store_ps(m[4 + j], _mm512_shuffle_f32x4(odd, odd2, 0x88));
        _mm512_store_ps(m[12 + j], _mm512_shuffle_f32x4(odd, odd2, 0xdd));
    }
}

// Lane i is the sum of a[i]'s lanes.
inline Lanes sums_of(const Lanes (&a)[16]) {
    __m512 halves[8], quarters[4];
    // Each step adds the two parts of every vector and packs two vectors into one.
    for (int i = 0; i < 8; i++) {
        const int first = i / 4 * 8 + i % 4;
        const __m512 x = a[first].v, y = a[first + 4].v;
        halves[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
    }
    for (int i = 0; i < 4; i++) {
        const __m512 x = halves[i], y = halves[i + 4];
        quarters[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
    }
    __m512 pairs[2];
    for (int i = 0; i < 2; i++) {
        const __m512d x = _mm512_castps_pd(quarters[2 * i]), y = _mm512_castps_pd(quarters[2 * i + 1]);
        pairs[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    return _mm512_add_ps(_mm512_shuffle_ps(pairs[0], pairs[1], 0x88), _mm512_shuffle_ps(pairs[0], pairs[1], 0xdd));
}

// Sums over k below `count` of weights[k] * rows[k][channel], for three channels; weights are 64-byte aligned.
inline void weighted_sum(const float* weights, const float* rows, int count, float out[3]) {
    // Twelve lanes hold four rows of three; each weight is spread over the three lanes of its row.
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0, 0);
    const __m512 w = _mm512_load_ps(weights);
    __m512 sums = _mm512_setzero_ps();
    for (int k = 0; k < count; k += 4) {
        const __mmask16 mask = count - k >= 4 ? 0x0fff : static_cast<__mmask16>((1u << (3 * (count - k))) - 1);
        const __m512 weight = _mm512_permutexvar_ps(_mm512_add_epi32(spread, _mm512_set1_epi32(k)), w);
        sums = _mm512_fmadd_ps(weight, _mm512_maskz_loadu_ps(mask, rows + 3 * k), sums);
    }
    const __m512i by6 = _mm512_setr_epi32(6, 7, 8, 9, 10, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12);
    const __m512i by3 = _mm512_setr_epi32(3, 4, 5, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12);
    sums = _mm512_add_ps(sums, _mm512_permutexvar_ps(by6, sums));
    sums = _mm512_add_ps(sums, _mm512_permutexvar_ps(by3, sums));
    _mm_mask_storeu_ps(out, 0x7, _mm512_castps512_ps128(sums));
}

}  // namespace h3d
