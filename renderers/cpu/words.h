// Sixteen unsigned 32-bit integers side by side, what Lanes are for floats: positions in a grid and their hashes.
//
// Sums and products wrap, as the hash wants it. Registers on AVX-512 and AVX2, plain loops of sixteen elsewhere.
#pragma once

#include <cstdint>

#include "lanes.h"

namespace h3d {

#if defined(__AVX512F__) && defined(__AVX512DQ__)

struct Words {
    __m512i v;
    Words() = default;
    Words(__m512i x) : v(x) {}
    explicit Words(uint32_t x) : v(_mm512_set1_epi32(static_cast<int>(x))) {}
    void store(uint32_t* p) const { _mm512_store_si512(p, v); }
};
inline Words operator+(Words a, Words b) { return _mm512_add_epi32(a.v, b.v); }
inline Words operator-(Words a, Words b) { return _mm512_sub_epi32(a.v, b.v); }
inline Words operator*(Words a, Words b) { return _mm512_mullo_epi32(a.v, b.v); }
inline Words operator^(Words a, Words b) { return _mm512_xor_si512(a.v, b.v); }
inline Words operator&(Words a, Words b) { return _mm512_and_si512(a.v, b.v); }
inline Words min(Words a, Words b) { return _mm512_min_epu32(a.v, b.v); }
// Whole parts of lanes in [0, 2^31).
inline Words whole(Lanes a) { return _mm512_cvttps_epi32(a.v); }
inline Lanes to_lanes(Words a) { return _mm512_cvtepi32_ps(a.v); }

#elif defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))

struct Words {
    __m256i lo, hi;
    Words() = default;
    Words(__m256i a, __m256i b) : lo(a), hi(b) {}
    explicit Words(uint32_t x) : lo(_mm256_set1_epi32(static_cast<int>(x))), hi(lo) {}
    void store(uint32_t* p) const {
        _mm256_store_si256(reinterpret_cast<__m256i*>(p), lo);
        _mm256_store_si256(reinterpret_cast<__m256i*>(p + 8), hi);
    }
};
inline Words operator+(Words a, Words b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
inline Words operator-(Words a, Words b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
inline Words operator*(Words a, Words b) { return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)}; }
inline Words operator^(Words a, Words b) { return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
inline Words operator&(Words a, Words b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
inline Words min(Words a, Words b) { return {_mm256_min_epu32(a.lo, b.lo), _mm256_min_epu32(a.hi, b.hi)}; }
inline Words whole(Lanes a) { return {_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)}; }
inline Lanes to_lanes(Words a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }

#else

struct Words {
    alignas(64) uint32_t w[kLanes];
    Words() = default;
    explicit Words(uint32_t x) {
        for (uint32_t& a : w) a = x;
    }
    void store(uint32_t* p) const {
        for (int i = 0; i < kLanes; i++) p[i] = w[i];
    }
};
template <class F>
inline Words each_word(F f) {
    Words a;
    for (int i = 0; i < kLanes; i++) a.w[i] = f(i);
    return a;
}
inline Words operator+(Words a, Words b) { return each_word([&](int i) { return a.w[i] + b.w[i]; }); }
inline Words operator-(Words a, Words b) { return each_word([&](int i) { return a.w[i] - b.w[i]; }); }
inline Words operator*(Words a, Words b) { return each_word([&](int i) { return a.w[i] * b.w[i]; }); }
inline Words operator^(Words a, Words b) { return each_word([&](int i) { return a.w[i] ^ b.w[i]; }); }
inline Words operator&(Words a, Words b) { return each_word([&](int i) { return a.w[i] & b.w[i]; }); }
inline Words min(Words a, Words b) { return each_word([&](int i) { return a.w[i] < b.w[i] ? a.w[i] : b.w[i]; }); }
inline Words whole(Lanes a) {
    alignas(64) float f[kLanes];
    a.store(f);
    return each_word([&](int i) { return static_cast<uint32_t>(static_cast<int32_t>(f[i])); });
}
inline Lanes to_lanes(Words a) {
    alignas(64) float f[kLanes];
    for (int i = 0; i < kLanes; i++) f[i] = static_cast<float>(static_cast<int32_t>(a.w[i]));
    return Lanes::load(f);
}

#endif

}  // namespace h3d
