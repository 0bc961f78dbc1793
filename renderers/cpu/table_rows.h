// One row of a feature table: F floats of an entry, F in {1, 2, 4, 8}, side by side in a register where there is one.
//
// A table holds floats, or halves that are widened as they are read.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "hash_encoding.h"
#include "lanes.h"

namespace h3d {

inline float widen(float x) { return x; }
inline float widen(Half h) {
#if defined(__F16C__) || (defined(_MSC_VER) && defined(__AVX2__))
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h.bits)));
#else
    const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16, rest = h.bits & 0x7fffu;
    if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // The bits read as a float are the value times 2^-112; multiplying normalises what was subnormal.
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(rest << 13) * 0x1p112f));
#endif
}

// The portable row; the compiler keeps such a short array in registers.
template <int F>
struct Features {
    float v[F];
    static Features zero() { return Features{}; }
    template <class T>
    static Features load(const T* p) {
        Features a;
        for (int f = 0; f < F; f++) a.v[f] = widen(p[f]);
        return a;
    }
    void store(float* p) const {
        for (int f = 0; f < F; f++) p[f] = v[f];
    }
    // this + w * row
    Features plus(float w, Features row) const {
        Features a;
        for (int f = 0; f < F; f++) a.v[f] = v[f] + w * row.v[f];
        return a;
    }
    float dot(Features b) const {
        float sum = 0.0f;
        for (int f = 0; f < F; f++) sum += v[f] * b.v[f];
        return sum;
    }
};

#if defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))

template <>
struct Features<2> {
    __m128 v;  // the upper half is zero
    static Features zero() { return {_mm_setzero_ps()}; }
    static Features load(const float* p) {
        double pair;
        std::memcpy(&pair, p, sizeof pair);
        return {_mm_castpd_ps(_mm_set_sd(pair))};
    }
    static Features load(const Half* p) {
        int pair;
        std::memcpy(&pair, p, sizeof pair);
        return {_mm_cvtph_ps(_mm_cvtsi32_si128(pair))};
    }
    void store(float* p) const { _mm_storel_pi(reinterpret_cast<__m64*>(p), v); }
    Features plus(float w, Features row) const { return {_mm_fmadd_ps(_mm_set1_ps(w), row.v, v)}; }
    float dot(Features b) const {
        const __m128 m = _mm_mul_ps(v, b.v);
        return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
    }
};

template <>
struct Features<4> {
    __m128 v;
    static Features zero() { return {_mm_setzero_ps()}; }
    static Features load(const float* p) { return {_mm_loadu_ps(p)}; }
    static Features load(const Half* p) {
        return {_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
    }
    void store(float* p) const { _mm_storeu_ps(p, v); }
    Features plus(float w, Features row) const { return {_mm_fmadd_ps(_mm_set1_ps(w), row.v, v)}; }
    float dot(Features b) const {
        __m128 m = _mm_mul_ps(v, b.v);
        m = _mm_add_ps(m, _mm_movehl_ps(m, m));
        return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
    }
};

template <>
struct Features<8> {
    __m256 v;
    static Features zero() { return {_mm256_setzero_ps()}; }
    static Features load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static Features load(const Half* p) {
        return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
    Features plus(float w, Features row) const { return {_mm256_fmadd_ps(_mm256_set1_ps(w), row.v, v)}; }
    float dot(Features b) const {
        const __m256 m = _mm256_mul_ps(v, b.v);
        __m128 s = _mm_add_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
        s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
    }
};

#endif

// The rows of several points in one register, which then share a product: here of one, which is all that rows of four
// features and more have room for or gain by.
template <int F>
struct Rows {
    static constexpr int kCount = 1;
    Features<F> v;
    static Rows zero() { return {Features<F>::zero()}; }
    template <class T>
    static Rows load(const T* table, const uint32_t* entries) {
        return {Features<F>::load(table + F * static_cast<size_t>(entries[0]))};
    }
    // this + each point's weight * its row
    Rows plus(const float* weights, Rows rows) const { return {v.plus(weights[0], rows.v)}; }
    // Of the points the first `count`, `stride` floats apart.
    void store(float* to, int /*stride*/, int /*count*/) const { v.store(to); }
};

#if defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))

template <>
struct Rows<2> {
    static constexpr int kCount = 4;
    __m256 v;
    static Rows zero() { return {_mm256_setzero_ps()}; }
    static Rows load(const float* table, const uint32_t* entries) {
        // Two entries are read at once: what this loop waits for is places to load from.
        const auto pair = [&](int i) {
            uint64_t both;
            std::memcpy(&both, entries + i, sizeof both);
            const auto* low = reinterpret_cast<const double*>(table + 2 * static_cast<size_t>(both & 0xffffffffu));
            const auto* high = reinterpret_cast<const double*>(table + 2 * static_cast<size_t>(both >> 32));
            return _mm_castpd_ps(_mm_loadh_pd(_mm_load_sd(low), high));
        };
        return {_mm256_set_m128(pair(2), pair(0))};
    }
    static Rows load(const Half* table, const uint32_t* entries) {
        int pairs[4];
        for (int i = 0; i < 4; i++) std::memcpy(&pairs[i], table + 2 * static_cast<size_t>(entries[i]), sizeof(int));
        return {_mm256_cvtph_ps(_mm_setr_epi32(pairs[0], pairs[1], pairs[2], pairs[3]))};
    }
    // The weights are 16-byte aligned.
    Rows plus(const float* weights, Rows rows) const {
        const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
        const __m256 w = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_load_ps(weights)), twice);
        return {_mm256_fmadd_ps(w, rows.v, v)};
    }
    void store(float* to, int stride, int count) const {
        const __m128 low = _mm256_castps256_ps128(v), high = _mm256_extractf128_ps(v, 1);
        const auto at = [&](int i) { return reinterpret_cast<__m64*>(to + static_cast<int64_t>(i) * stride); };
        _mm_storel_pi(at(0), low);
        if (count > 1) _mm_storeh_pi(at(1), low);
        if (count > 2) _mm_storel_pi(at(2), high);
        if (count > 3) _mm_storeh_pi(at(3), high);
    }
};

#endif

}  // namespace h3d
