// Opacity of a stretch of density.
#pragma once

#include "lanes.h"

namespace h3d {

// 1 - exp(-x), exact to a few units in the last place for small x too.
inline Lanes alpha_of(Lanes x) {
    // The series of (1 - exp(-x)) / x; at 0.4 the first term left out is 2e-8.
    Lanes p(1.0f / 40320.0f);
    p = fnma(p, x, Lanes(1.0f / 5040.0f));
    p = fnma(p, x, Lanes(1.0f / 720.0f));
    p = fnma(p, x, Lanes(1.0f / 120.0f));
    p = fnma(p, x, Lanes(1.0f / 24.0f));
    p = fnma(p, x, Lanes(1.0f / 6.0f));
    p = fnma(p, x, Lanes(0.5f));
    p = fnma(p, x, Lanes(1.0f));
    // The minimum keeps exp2 in its range, and a NaN a NaN.
    const Lanes power = min(Lanes(100.0f), x * 1.44269504f);
    return select(abs(x) < Lanes(0.4f), x * p, 1.0f - exp2(-power));
}

}  // namespace h3d
