// Spheres and parallelograms with materials: what a ray meets, what lies between two points, where light comes from.
//
// A parallelogram gives off light on the side that u x v points to, a sphere outwards; both sides of both scatter.
// Primitives are numbered spheres first. Every ray is tested against all of them, sixteen at a time: scenes of some
// dozen primitives, which need no tree.
#pragma once

#include <cstdint>
#include <vector>

#include "lanes.h"
#include "surface_arrays.h"
#include "surface_lobes.h"

namespace h3d {

struct Hit {
    float t = 0.0f;
    int32_t primitive = -1;
    Vec position, normal;  // the normal of the side that the ray comes from
    bool front = true;     // whether that is the side that gives off light
};

// A point on a light as seen from another: the density is per solid angle there.
struct LightSample {
    Vec direction, emission;
    float distance = 0.0f, pdf = 0.0f;
};

class SurfaceScene {
public:
    explicit SurfaceScene(const SurfaceArrays& arrays);

    bool intersect(Vec origin, Vec direction, Hit& hit) const;
    bool occluded(Vec origin, Vec direction, float distance) const;
    const Material& material(int32_t primitive) const { return materials_[owners_[primitive]]; }
    // A place beside a surface from which a ray does not meet that surface again for its rounding.
    Vec beside(Vec position, Vec normal) const { return position + normal * offset_; }

    // For three numbers in [0, 1); pdf 0 where the light that was picked cannot be seen.
    LightSample sample_light(Vec from, float pick, float u, float v) const;
    // The density with which `sample_light` from `from` would have drawn what a ray in `direction` has met.
    float light_pdf(Vec from, Vec direction, const Hit& hit) const;

private:
    struct alignas(64) SphereBlock {
        float x[kLanes], y[kLanes], z[kLanes], radius[kLanes];
    };
    // Of the plane: normal and its offset; of the point in it: two functions that are 0 to 1 between the sides.
    struct alignas(64) QuadBlock {
        float n[4][kLanes] = {}, a[4][kLanes] = {}, b[4][kLanes] = {};
    };
    struct Light {
        int32_t primitive;
        float share, up_to;  // of all light that is given off; of it and those before
    };

    void add_spheres(const SurfaceArrays& arrays);
    void add_quads(const SurfaceArrays& arrays);
    void add_lights();
    bool is_sphere(int32_t primitive) const { return primitive < sphere_count_; }
    float area(int32_t primitive) const;

    std::vector<SphereBlock> sphere_blocks_;
    std::vector<QuadBlock> quad_blocks_;
    std::vector<float> places_;  // [S, 4] and [Q, 9] as given
    std::vector<Vec> normals_;   // [Q]
    std::vector<float> areas_;   // [Q]
    std::vector<int32_t> owners_;
    std::vector<float> shares_;  // of each primitive in the light, 0 for most
    std::vector<Material> materials_;
    std::vector<Light> lights_;
    int32_t sphere_count_ = 0;
    float offset_ = 0.0f;
};

}  // namespace h3d
