// Three floats: a place, a direction, a colour.
#pragma once

#include <algorithm>
#include <cmath>

namespace h3d {

struct Vec {
    float x = 0.0f, y = 0.0f, z = 0.0f;

    static Vec at(const float* p) { return {p[0], p[1], p[2]}; }
    void put(float* p) const { p[0] = x, p[1] = y, p[2] = z; }
};

inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator-(Vec a) { return {-a.x, -a.y, -a.z}; }
inline Vec operator*(Vec a, Vec b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
inline Vec operator*(Vec a, float s) { return {a.x * s, a.y * s, a.z * s}; }
inline Vec operator*(float s, Vec a) { return a * s; }
inline Vec& operator+=(Vec& a, Vec b) { return a = a + b; }
inline Vec& operator*=(Vec& a, Vec b) { return a = a * b; }
inline float dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline float length(Vec a) { return std::sqrt(dot(a, a)); }
inline Vec normalized(Vec a) { return a * (1.0f / length(a)); }
inline float largest(Vec a) { return std::max(a.x, std::max(a.y, a.z)); }
inline float luminance(Vec a) { return 0.2126f * a.x + 0.7152f * a.y + 0.0722f * a.z; }

// Axes with z along a unit vector. Source: Duff et al. 2017, "Building an orthonormal basis, revisited".
struct Frame {
    Vec x, y, z;

    explicit Frame(Vec normal) : z(normal) {
        const float sign = std::copysign(1.0f, z.z), a = -1.0f / (sign + z.z), b = z.x * z.y * a;
        x = {1.0f + sign * z.x * z.x * a, sign * b, -sign * z.x};
        y = {b, sign + z.y * z.y * a, -z.y};
    }
    Vec into(Vec v) const { return {dot(v, x), dot(v, y), dot(v, z)}; }
    Vec out_of(Vec v) const { return x * v.x + y * v.y + z * v.z; }
};

}  // namespace h3d
