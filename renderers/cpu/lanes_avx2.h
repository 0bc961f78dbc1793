// Lanes on AVX2 with FMA: two 256-bit registers, masks as full-width lanes.
#pragma once

#include <immintrin.h>

namespace h3d {

struct Mask {
    __m256 lo, hi;
    static Mask from_bits(uint32_t bits) {
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        const __m256i a = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), bit);
        const __m256i b = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits >> 8)), bit);
        return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, bit)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(b, bit))};
    }
};
inline uint32_t bits(Mask a) {
    return static_cast<uint32_t>(_mm256_movemask_ps(a.lo)) | static_cast<uint32_t>(_mm256_movemask_ps(a.hi)) << 8;
}
inline bool any(Mask a) {
    const __m256 both = _mm256_or_ps(a.lo, a.hi);
    return _mm256_testz_ps(both, both) == 0;
}
inline Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)}; }
inline Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)}; }

struct Lanes {
    __m256 lo, hi;
    Lanes() = default;
    Lanes(__m256 a, __m256 b) : lo(a), hi(b) {}
    explicit Lanes(float x) : lo(_mm256_set1_ps(x)), hi(lo) {}
    static Lanes load(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }  // 32-byte aligned
    void store(float* p) const {
        _mm256_store_ps(p, lo);
        _mm256_store_ps(p + 8, hi);
    }
};
inline Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Lanes operator/(Lanes a, Lanes b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Lanes operator-(Lanes a) { return Lanes(0.0f) - a; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline Lanes fnma(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
inline Lanes min(Lanes a, Lanes b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Lanes max(Lanes a, Lanes b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Lanes abs(Lanes a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
inline Lanes sqrt(Lanes a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
inline Lanes ceil(Lanes a) { return {_mm256_ceil_ps(a.lo), _mm256_ceil_ps(a.hi)}; }
inline Lanes floor(Lanes a) { return {_mm256_floor_ps(a.lo), _mm256_floor_ps(a.hi)}; }
inline Mask operator<(Lanes a, Lanes b) {
    return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
inline Mask operator<=(Lanes a, Lanes b) {
    return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LE_OQ)};
}
inline Mask operator>(Lanes a, Lanes b) { return b < a; }
inline Mask operator>=(Lanes a, Lanes b) { return b <= a; }
inline Lanes select(Mask m, Lanes a, Lanes b) {
    return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}
inline Lanes keep(Mask m, Lanes a) { return {_mm256_and_ps(m.lo, a.lo), _mm256_and_ps(m.hi, a.hi)}; }

inline float sum(Lanes a) {
    const __m256 s = _mm256_add_ps(a.lo, a.hi);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
inline float largest(Lanes a) {
    const __m256 s = _mm256_max_ps(a.lo, a.hi);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

inline Lanes exp2_fraction(Lanes f);

// x >= -120: the exponent is added as an integer.
inline Lanes exp2(Lanes x) {
    const Lanes whole = floor(x);
    const Lanes p = exp2_fraction(x - whole);
    const auto scaled = [](__m256 value, __m256 power) {
        const __m256i shift = _mm256_slli_epi32(_mm256_cvtps_epi32(power), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), shift));
    };
    return {scaled(p.lo, whole.lo), scaled(p.hi, whole.hi)};
}

inline void split(Lanes x, Lanes& mantissa, Lanes& exponent) {
    const auto half = [](__m256 value, __m256& m, __m256& e) {
        const __m256i word = _mm256_castps_si256(value);
        const __m256i biased = _mm256_srli_epi32(word, 23);
        e = _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)));
        const __m256i fraction = _mm256_and_si256(word, _mm256_set1_epi32(0x007fffff));
        m = _mm256_castsi256_ps(_mm256_or_si256(fraction, _mm256_set1_epi32(0x3f800000)));
    };
    half(x.lo, mantissa.lo, exponent.lo);
    half(x.hi, mantissa.hi, exponent.hi);
}

inline Lanes load_anywhere(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store_anywhere(Lanes a, float* p) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
inline void store_rounded(Lanes a, int32_t* p) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), _mm256_cvtps_epi32(a.lo));
    _mm256_store_si256(reinterpret_cast<__m256i*>(p + 8), _mm256_cvtps_epi32(a.hi));
}

}  // namespace h3d
