// Real spherical harmonics up to degree 3 at sixteen directions; order and signs as in `h3d.renderers.harmonics`.
#pragma once

#include "lanes.h"

namespace h3d {

// basis[k] for k below `count`, one of 1, 4, 9, 16.
inline void basis_at(Lanes x, Lanes y, Lanes z, int count, float (*basis)[kLanes]) {
    Lanes(0.28209479177387814f).store(basis[0]);
    if (count < 4) return;
    constexpr float c1 = 0.4886025119029199f;
    (-c1 * y).store(basis[1]);
    (c1 * z).store(basis[2]);
    (-c1 * x).store(basis[3]);
    if (count < 9) return;
    const Lanes xx = x * x, yy = y * y, zz = z * z;
    constexpr float c2 = 1.0925484305920792f;
    (c2 * x * y).store(basis[4]);
    (-c2 * y * z).store(basis[5]);
    (0.31539156525252005f * (zz + zz - xx - yy)).store(basis[6]);
    (-c2 * x * z).store(basis[7]);
    (0.5462742152960396f * (xx - yy)).store(basis[8]);
    if (count < 16) return;
    constexpr float c3 = 0.5900435899266435f, c4 = 0.4570457994644658f;
    (-c3 * y * (3.0f * xx - yy)).store(basis[9]);
    (2.890611442640554f * x * y * z).store(basis[10]);
    (-c4 * y * (4.0f * zz - xx - yy)).store(basis[11]);
    (0.3731763325901154f * z * (2.0f * zz - 3.0f * xx - 3.0f * yy)).store(basis[12]);
    (-c4 * x * (4.0f * zz - xx - yy)).store(basis[13]);
    (1.445305721320277f * z * (xx - yy)).store(basis[14]);
    (-c3 * x * (xx - 3.0f * yy)).store(basis[15]);
}

// Sum over k below `count` of weights[k] times the gradient of basis k, as if x, y, z were free.
inline void basis_slope(Lanes x, Lanes y, Lanes z, int count, const float (*weights)[kLanes], Lanes out[3]) {
    const auto w = [&](int k) { return Lanes::load(weights[k]); };
    out[0] = out[1] = out[2] = Lanes(0.0f);
    if (count < 4) return;
    constexpr float c1 = 0.4886025119029199f;
    out[0] = -c1 * w(3), out[1] = -c1 * w(1), out[2] = c1 * w(2);
    if (count < 9) return;
    constexpr float c2 = 1.0925484305920792f, c20 = 0.6307831305050401f;
    const Lanes w4 = c2 * w(4), w5 = c2 * w(5), w6 = c20 * w(6), w7 = c2 * w(7), w8 = c2 * w(8);
    out[0] = out[0] + w4 * y - w6 * x - w7 * z + w8 * x;
    out[1] = out[1] + w4 * x - w5 * z - w6 * y - w8 * y;
    out[2] = out[2] - w5 * y + 2.0f * w6 * z - w7 * x;
    if (count < 16) return;
    const Lanes xx = x * x, yy = y * y, zz = z * z, xy = x * y, xz = x * z, yz = y * z;
    constexpr float c3 = 1.7701307697799304f, c4 = 0.4570457994644658f, c6 = 1.119528997770346f;
    const Lanes w9 = c3 * w(9), w10 = 2.890611442640554f * w(10), w11 = c4 * w(11), w12 = c6 * w(12);
    const Lanes w13 = c4 * w(13), w14 = 1.445305721320277f * w(14), w15 = c3 * w(15);
    out[0] = out[0] - 2.0f * w9 * xy + w10 * yz + 2.0f * w11 * xy - 2.0f * w12 * xz -
             w13 * (4.0f * zz - 3.0f * xx - yy) + 2.0f * w14 * xz - w15 * (xx - yy);
    out[1] = out[1] - w9 * (xx - yy) + w10 * xz - w11 * (4.0f * zz - xx - 3.0f * yy) - 2.0f * w12 * yz +
             2.0f * w13 * xy - 2.0f * w14 * yz + 2.0f * w15 * xy;
    out[2] = out[2] + w10 * xy - 8.0f * w11 * yz + w12 * (2.0f * zz - xx - yy) - 8.0f * w13 * xz + w14 * (xx - yy);
}

}  // namespace h3d
