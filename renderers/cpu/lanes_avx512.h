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
    static Lanes loadu(const float* p) { return _mm512_loadu_ps(p); }
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
inline void store_rounded(Lanes a, int32_t* p) { _mm512_store_si512(p, _mm512_cvtps_epi32(a.v)); }

}  // namespace h3d
