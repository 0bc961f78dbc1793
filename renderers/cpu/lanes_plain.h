// Lanes in plain C++: arrays of sixteen and loops of fixed length, which compilers turn into NEON, SSE or VSX.
#pragma once

#include <bit>
#include <cmath>

namespace h3d {

struct Mask {
    uint32_t m = 0;
    static Mask from_bits(uint32_t bits) { return {bits & 0xffffu}; }
};
inline uint32_t bits(Mask a) { return a.m; }
inline bool any(Mask a) { return a.m != 0; }
inline Mask operator&(Mask a, Mask b) { return {a.m & b.m}; }
inline Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }

struct Lanes {
    float v[kLanes];
    Lanes() = default;
    explicit Lanes(float x) {
        for (float& y : v) y = x;
    }
    static Lanes load(const float* p) {
        Lanes a;
        for (int i = 0; i < kLanes; i++) a.v[i] = p[i];
        return a;
    }
    static Lanes loadu(const float* p) { return load(p); }
    void store(float* p) const {
        for (int i = 0; i < kLanes; i++) p[i] = v[i];
    }
};

template <class F>
inline Lanes each(F f) {
    Lanes a;
    for (int i = 0; i < kLanes; i++) a.v[i] = f(i);
    return a;
}
template <class F>
inline Mask where(F f) {
    uint32_t m = 0;
    for (int i = 0; i < kLanes; i++) m |= static_cast<uint32_t>(f(i)) << i;
    return {m};
}

inline Lanes operator+(Lanes a, Lanes b) { return each([&](int i) { return a.v[i] + b.v[i]; }); }
inline Lanes operator-(Lanes a, Lanes b) { return each([&](int i) { return a.v[i] - b.v[i]; }); }
inline Lanes operator*(Lanes a, Lanes b) { return each([&](int i) { return a.v[i] * b.v[i]; }); }
inline Lanes operator/(Lanes a, Lanes b) { return each([&](int i) { return a.v[i] / b.v[i]; }); }
inline Lanes operator-(Lanes a) { return each([&](int i) { return 0.0f - a.v[i]; }); }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return each([&](int i) { return c.v[i] - a.v[i] * b.v[i]; }); }
inline Lanes min(Lanes a, Lanes b) { return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline Lanes max(Lanes a, Lanes b) { return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Lanes abs(Lanes a) { return each([&](int i) { return std::fabs(a.v[i]); }); }
inline Lanes sqrt(Lanes a) { return each([&](int i) { return std::sqrt(a.v[i]); }); }
inline Lanes ceil(Lanes a) { return each([&](int i) { return std::ceil(a.v[i]); }); }
inline Lanes floor(Lanes a) { return each([&](int i) { return std::floor(a.v[i]); }); }
inline Mask operator<(Lanes a, Lanes b) { return where([&](int i) { return a.v[i] < b.v[i]; }); }
inline Mask operator<=(Lanes a, Lanes b) { return where([&](int i) { return a.v[i] <= b.v[i]; }); }
inline Mask operator>(Lanes a, Lanes b) { return b < a; }
inline Mask operator>=(Lanes a, Lanes b) { return b <= a; }
inline Lanes select(Mask m, Lanes a, Lanes b) {
    return each([&](int i) { return (m.m >> i & 1u) != 0 ? a.v[i] : b.v[i]; });
}
inline Lanes keep(Mask m, Lanes a) { return select(m, a, Lanes(0.0f)); }
inline float sum(Lanes a) {
    float s = 0.0f;
    for (const float x : a.v) s += x;
    return s;
}
inline float largest(Lanes a) {
    float s = a.v[0];
    for (const float x : a.v) s = x > s ? x : s;
    return s;
}

inline Lanes exp2_fraction(Lanes f);

// x in [-120, 120]: the exponent is added as an integer.
inline Lanes exp2(Lanes x) {
    const Lanes whole = floor(x);
    const Lanes p = exp2_fraction(x - whole);
    return each([&](int i) {
        const int power = whole.v[i] >= -120.0f && whole.v[i] <= 120.0f ? static_cast<int>(whole.v[i]) : 0;
        return std::bit_cast<float>(std::bit_cast<int32_t>(p.v[i]) + power * (1 << 23));
    });
}

inline void split(Lanes x, Lanes& mantissa, Lanes& exponent) {
    mantissa = each([&](int i) {
        return std::bit_cast<float>((std::bit_cast<uint32_t>(x.v[i]) & 0x007fffffu) | 0x3f800000u);
    });
    exponent = each([&](int i) {
        return static_cast<float>(static_cast<int>(std::bit_cast<uint32_t>(x.v[i]) >> 23) - 127);
    });
}

inline void store_rounded(Lanes a, int32_t* p) {
    for (int i = 0; i < kLanes; i++) p[i] = static_cast<int32_t>(std::nearbyint(a.v[i]));
}

}  // namespace h3d
