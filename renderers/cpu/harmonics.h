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

}  // namespace h3d
