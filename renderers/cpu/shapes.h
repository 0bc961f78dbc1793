// How a Gaussian is drawn: as itself, as a disc, as a lit solid, or as the ring of its outline.
//
// Each shape turns u, v of sixteen pixels (see Splat) into a measure, says which pixels it hits, and gives their alpha.
// `shade` is the factor on the colour. Only SplatShape is in the hot path; the others are for looking at structure.
#pragma once

#include <algorithm>

#include "lanes.h"
#include "raster.h"

namespace h3d {

struct SplatShape {
    Lanes level;
    explicit SplatShape(const Splat& s) : level(s.level) {}
    static float reach(const Splat& s) { return s.level + kLog2Cut; }
    Lanes measure(Lanes u, Lanes v) const { return fnma(v, v, fnma(u, u, level)); }
    Mask hit(Lanes power) const { return power >= Lanes(-kLog2Cut); }
    Lanes alpha(Lanes power, Lanes, Lanes) const { return min(exp2(power), Lanes(kMaxAlpha)); }
    static constexpr bool kShaded = false;
    Lanes shade(Lanes, Lanes, Lanes) const { return Lanes(1.0f); }
};

// What the shapes with a hard outline share: the measure is u^2 + v^2, 1 on the outline.
struct OutlineShape {
    static float reach(const Splat&) { return 1.0f; }
    Lanes measure(Lanes u, Lanes v) const { return fma(u, u, v * v); }
    Mask hit(Lanes q) const { return q <= Lanes(1.0f); }
    static constexpr bool kShaded = false;
    Lanes shade(Lanes, Lanes, Lanes) const { return Lanes(1.0f); }
};

// An opaque disc whose edge fades over one pixel; level is the radius plus half a pixel.
struct PointShape : OutlineShape {
    Lanes radius;
    explicit PointShape(const Splat& s) : radius(s.level) {}
    Lanes alpha(Lanes q, Lanes, Lanes) const {
        return Lanes(kMaxAlpha) * min(radius * (1.0f - sqrt(q)), Lanes(1.0f));
    }
};

// Half the gradient of the measure over the picture.
struct Gradient {
    Lanes x, y, length;
    Gradient(const Splat& s, Lanes u, Lanes v)
        : x(s.a * u), y(s.b * u + s.c * v), length(max(sqrt(fma(x, x, y * y)), Lanes(1e-12f))) {}
};

// An opaque solid: the normal leans along the gradient as on a sphere; the light comes from the upper left front.
struct EllipsoidShape : OutlineShape {
    const Splat& splat;
    explicit EllipsoidShape(const Splat& s) : splat(s) {}
    Lanes alpha(Lanes, Lanes, Lanes) const { return Lanes(kMaxAlpha); }
    static constexpr bool kShaded = true;
    Lanes shade(Lanes q, Lanes u, Lanes v) const {
        const Gradient g(splat, u, v);
        const Lanes lean = sqrt(q) / g.length;
        const Lanes lit = lean * (g.x * -0.40f + g.y * -0.55f) + 0.73f * sqrt(max(1.0f - q, Lanes(0.0f)));
        return 0.35f + 0.65f * max(lit, Lanes(0.0f));
    }
};

// A line one and a half pixels wide inside the outline, as opaque as the Gaussian; level is the opacity.
struct RingShape : OutlineShape {
    const Splat& splat;
    explicit RingShape(const Splat& s) : splat(s) {}
    Lanes alpha(Lanes q, Lanes u, Lanes v) const {
        const Gradient g(splat, u, v);
        const Lanes root = max(sqrt(q), Lanes(1e-6f));
        const Lanes depth = (1.0f - root) * root / g.length;  // pixels from the outline
        const Lanes edge = min(min(depth, 2.0f - depth), Lanes(1.0f));
        return max(edge, Lanes(0.0f)) * std::min(splat.level, kMaxAlpha);
    }
};

}  // namespace h3d
