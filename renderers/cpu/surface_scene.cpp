#include "surface_scene.h"

#include <limits>

namespace h3d {
namespace {

constexpr float kFar = std::numeric_limits<float>::infinity();
// Of the scene's largest coordinate; float32 places a hit to some 1e-6 of it.
constexpr float kOffset = 2e-5f;
// A shadow ray ends this share before the light that it goes to.
constexpr float kShadowReach = 1.0f - 1e-4f;

// Where a ray meets sixteen spheres first; NaN or at most 0 where it does not.
template <class Block>
Lanes sphere_distances(const Block& block, Vec origin, Vec direction) {
    const Lanes x = Lanes::load(block.x) - origin.x, y = Lanes::load(block.y) - origin.y;
    const Lanes z = Lanes::load(block.z) - origin.z, radius = Lanes::load(block.radius);
    const Lanes middle = fma(x, Lanes(direction.x), fma(y, Lanes(direction.y), z * direction.z));
    // The distance of the centre from the ray by its own vector: far away, squares would cancel.
    const Lanes dx = fnma(middle, Lanes(direction.x), x), dy = fnma(middle, Lanes(direction.y), y);
    const Lanes dz = fnma(middle, Lanes(direction.z), z);
    const Lanes half = sqrt(fma(radius, radius, -fma(dx, dx, fma(dy, dy, dz * dz))));
    const Lanes near = middle - half;
    return select(near > Lanes(0.0f), near, middle + half);
}

// The same for parallelograms: NaN where the plane is met outside of them.
template <class Block>
Lanes quad_distances(const Block& block, Vec origin, Vec direction) {
    const auto along = [&](const float (*f)[kLanes], Vec v) {
        return fma(Lanes::load(f[0]), Lanes(v.x), fma(Lanes::load(f[1]), Lanes(v.y), Lanes::load(f[2]) * v.z));
    };
    const Lanes t = (Lanes::load(block.n[3]) - along(block.n, origin)) / along(block.n, direction);
    const Lanes a = fma(t, along(block.a, direction), along(block.a, origin) - Lanes::load(block.a[3]));
    const Lanes b = fma(t, along(block.b, direction), along(block.b, origin) - Lanes::load(block.b[3]));
    const Lanes zero(0.0f), one(1.0f);
    const Mask inside = (a >= zero) & (a <= one) & (b >= zero) & (b <= one);
    return select(inside, t, Lanes(std::numeric_limits<float>::quiet_NaN()));
}

struct Nearest {
    Lanes t{kFar}, block{-1.0f};

    void take(Lanes found, size_t index) {
        const Mask nearer = (found > Lanes(0.0f)) & (found < t);
        t = select(nearer, found, t);
        block = select(nearer, Lanes(static_cast<float>(index)), block);
    }
    // The distance and the number of the primitive; -1 for none.
    int32_t resolve(float& distance) const {
        alignas(64) float ts[kLanes], blocks[kLanes];
        t.store(ts), block.store(blocks);
        int best = 0;
        for (int lane = 1; lane < kLanes; lane++) best = ts[lane] < ts[best] ? lane : best;
        distance = ts[best];
        return ts[best] < kFar ? static_cast<int32_t>(blocks[best]) * kLanes + best : -1;
    }
};

}  // namespace

SurfaceScene::SurfaceScene(const SurfaceArrays& arrays) : sphere_count_(static_cast<int32_t>(arrays.sphere_count)) {
    for (int64_t m = 0; m < arrays.material_count; m++) {
        const float* row = arrays.materials + 10 * m;
        materials_.push_back({Vec::at(row), Vec::at(row + 3), Vec::at(row + 6), row[9]});
    }
    add_spheres(arrays);
    add_quads(arrays);
    add_lights();
}

void SurfaceScene::add_spheres(const SurfaceArrays& arrays) {
    places_.assign(arrays.spheres, arrays.spheres + 4 * arrays.sphere_count);
    sphere_blocks_.resize(static_cast<size_t>((arrays.sphere_count + kLanes - 1) / kLanes));
    for (SphereBlock& block : sphere_blocks_) {
        std::fill(block.radius, block.radius + kLanes, std::numeric_limits<float>::quiet_NaN());
        for (float* centre : {block.x, block.y, block.z}) std::fill(centre, centre + kLanes, 0.0f);
    }
    for (int64_t s = 0; s < arrays.sphere_count; s++) {
        const float* row = arrays.spheres + 4 * s;
        SphereBlock& block = sphere_blocks_[static_cast<size_t>(s / kLanes)];
        const int lane = static_cast<int>(s % kLanes);
        block.x[lane] = row[0], block.y[lane] = row[1], block.z[lane] = row[2], block.radius[lane] = row[3];
        owners_.push_back(arrays.sphere_materials[s]);
        for (int axis = 0; axis < 3; axis++) offset_ = std::max(offset_, kOffset * (std::fabs(row[axis]) + row[3]));
    }
}

void SurfaceScene::add_quads(const SurfaceArrays& arrays) {
    places_.insert(places_.end(), arrays.quads, arrays.quads + 9 * arrays.quad_count);
    // Lanes that no parallelogram fills stay 0 and give NaN distances.
    quad_blocks_.resize(static_cast<size_t>((arrays.quad_count + kLanes - 1) / kLanes));
    for (int64_t q = 0; q < arrays.quad_count; q++) {
        const float* row = arrays.quads + 9 * q;
        const Vec corner = Vec::at(row), u = Vec::at(row + 3), v = Vec::at(row + 6), across = cross(u, v);
        const Vec normal = normalized(across);
        const float square = 1.0f / dot(across, across);
        // Reciprocal vectors: a u = 1, a v = 0, and the other way round.
        const Vec a = cross(v, across) * square, b = cross(across, u) * square;
        QuadBlock& block = quad_blocks_[static_cast<size_t>(q / kLanes)];
        const int lane = static_cast<int>(q % kLanes);
        const auto put = [&](float (*f)[kLanes], Vec vector) {
            f[0][lane] = vector.x, f[1][lane] = vector.y, f[2][lane] = vector.z, f[3][lane] = dot(vector, corner);
        };
        put(block.n, normal), put(block.a, a), put(block.b, b);
        normals_.push_back(normal);
        areas_.push_back(length(across));
        owners_.push_back(arrays.quad_materials[q]);
        for (const Vec p : {corner, corner + u, corner + v, corner + u + v}) {
            offset_ = std::max(offset_, kOffset * largest({std::fabs(p.x), std::fabs(p.y), std::fabs(p.z)}));
        }
    }
}

void SurfaceScene::add_lights() {
    shares_.assign(owners_.size(), 0.0f);
    float total = 0.0f;
    for (size_t p = 0; p < owners_.size(); p++) {
        const auto primitive = static_cast<int32_t>(p);
        if (!material(primitive).emits()) continue;
        lights_.push_back({primitive, area(primitive) * luminance(material(primitive).emission), 0.0f});
        total += lights_.back().share;
    }
    float before = 0.0f;
    for (Light& light : lights_) {
        light.share /= total;
        light.up_to = before += light.share;
        shares_[static_cast<size_t>(light.primitive)] = light.share;
    }
}

float SurfaceScene::area(int32_t primitive) const {
    if (!is_sphere(primitive)) return areas_[static_cast<size_t>(primitive - sphere_count_)];
    const float radius = places_[4 * static_cast<size_t>(primitive) + 3];
    return 4.0f * kPi * radius * radius;
}

bool SurfaceScene::intersect(Vec origin, Vec direction, Hit& hit) const {
    Nearest sphere, quad;
    for (size_t i = 0; i < sphere_blocks_.size(); i++) {
        sphere.take(sphere_distances(sphere_blocks_[i], origin, direction), i);
    }
    for (size_t i = 0; i < quad_blocks_.size(); i++) quad.take(quad_distances(quad_blocks_[i], origin, direction), i);
    float sphere_t = kFar, quad_t = kFar;
    const int32_t s = sphere_blocks_.empty() ? -1 : sphere.resolve(sphere_t), q = quad.resolve(quad_t);
    if (s < 0 && q < 0) return false;
    Vec outward;
    if (quad_t <= sphere_t) {
        hit.t = quad_t, hit.primitive = sphere_count_ + q;
        hit.position = origin + direction * hit.t;
        outward = normals_[static_cast<size_t>(q)];
    } else {
        hit.t = sphere_t, hit.primitive = s;
        const float* row = places_.data() + 4 * s;
        outward = normalized(origin + direction * hit.t - Vec::at(row));
        // Back onto the sphere: what rounding has moved along the ray is more than what it moves along the radius.
        hit.position = Vec::at(row) + outward * row[3];
    }
    hit.front = dot(outward, direction) < 0.0f;
    hit.normal = hit.front ? outward : -outward;
    return true;
}

bool SurfaceScene::occluded(Vec origin, Vec direction, float distance) const {
    const Lanes zero(0.0f), reach(distance * kShadowReach);
    for (const QuadBlock& block : quad_blocks_) {
        const Lanes t = quad_distances(block, origin, direction);
        if (any((t > zero) & (t < reach))) return true;
    }
    for (const SphereBlock& block : sphere_blocks_) {
        const Lanes t = sphere_distances(block, origin, direction);
        if (any((t > zero) & (t < reach))) return true;
    }
    return false;
}

LightSample SurfaceScene::sample_light(Vec from, float pick, float u, float v) const {
    if (lights_.empty()) return {};
    size_t index = 0;
    while (index + 1 < lights_.size() && pick >= lights_[index].up_to) index++;
    const Light& light = lights_[index];
    LightSample out;
    out.emission = material(light.primitive).emission;
    if (is_sphere(light.primitive)) {
        const float* row = places_.data() + 4 * light.primitive;
        const Vec to_centre = Vec::at(row) - from;
        const float square = dot(to_centre, to_centre), sine2 = row[3] * row[3] / square;
        if (!(sine2 < 1.0f)) return out;
        // 1 - cos by the sine: small spheres would cancel.
        const float spread = sine2 / (1.0f + std::sqrt(1.0f - sine2)), drop = u * spread, angle = 2.0f * kPi * v;
        const float cosine = 1.0f - drop, sine = std::sqrt(std::max(0.0f, drop * (2.0f - drop)));
        const Frame frame(normalized(to_centre));
        out.direction = frame.out_of({sine * std::cos(angle), sine * std::sin(angle), cosine});
        const float middle = std::sqrt(square) * cosine;
        out.distance = middle - std::sqrt(std::max(0.0f, row[3] * row[3] - square * sine * sine));
        out.pdf = light.share / (2.0f * kPi * spread);
        return out;
    }
    const auto quad = static_cast<size_t>(light.primitive - sphere_count_);
    const float* row = places_.data() + 4 * static_cast<size_t>(sphere_count_) + 9 * quad;
    const Vec way = Vec::at(row) + Vec::at(row + 3) * u + Vec::at(row + 6) * v - from;
    out.distance = length(way);
    out.direction = way * (1.0f / out.distance);
    const float cosine = -dot(normals_[quad], out.direction);
    if (cosine > 0.0f) out.pdf = light.share * out.distance * out.distance / (areas_[quad] * cosine);
    return out;
}

float SurfaceScene::light_pdf(Vec from, Vec direction, const Hit& hit) const {
    const float share = shares_[static_cast<size_t>(hit.primitive)];
    if (share == 0.0f || !hit.front) return 0.0f;
    if (is_sphere(hit.primitive)) {
        const float* row = places_.data() + 4 * hit.primitive;
        const Vec to_centre = Vec::at(row) - from;
        const float sine2 = row[3] * row[3] / dot(to_centre, to_centre);
        return sine2 < 1.0f ? share * (1.0f + std::sqrt(1.0f - sine2)) / (2.0f * kPi * sine2) : 0.0f;
    }
    const auto quad = static_cast<size_t>(hit.primitive - sphere_count_);
    return share * hit.t * hit.t / (areas_[quad] * -dot(normals_[quad], direction));
}

}  // namespace h3d
