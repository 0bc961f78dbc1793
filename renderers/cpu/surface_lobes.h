// How a surface scatters light: a Lambertian lobe and a glossy one, GGX without Fresnel, so that albedo + specular <= 1
// gives out no more light than comes in. All in the frame of the surface: z is the normal on the side that is looked at.
//
// f cos = (albedo / pi + specular D V) cos, with alpha = roughness^2, D the GGX distribution of microfacets and V the
// height-correlated shadowing over 4 cos cos. A direction is drawn from one of the lobes, by their luminance.
// Source: Walter et al. 2007 (GGX); Heitz 2014 (shadowing); Dupuy and Benyoub 2023 (visible normals by spherical caps).
#pragma once

#include "vec.h"

namespace h3d {

constexpr float kPi = 3.14159265358979f;

struct Material {
    Vec albedo, specular, emission;
    float roughness = 1.0f;

    bool scatters() const { return largest(albedo) > 0.0f || largest(specular) > 0.0f; }
    bool emits() const { return largest(emission) > 0.0f; }
};

// What comes of one direction: f times the cosine, and the density with which `sample` draws it, per solid angle.
struct Scattered {
    Vec value;
    float pdf = 0.0f;
};

class Lobes {
public:
    Lobes(const Material& material, Vec outgoing)
        : material_(material), outgoing_(outgoing), alpha_(material.roughness * material.roughness) {
        const float gloss = luminance(material.specular), both = gloss + luminance(material.albedo);
        glossy_share_ = both > 0.0f ? gloss / both : 0.0f;
    }

    Scattered at(Vec incoming) const {
        if (!(incoming.z > 0.0f && outgoing_.z > 0.0f)) return {};
        Scattered out{material_.albedo * (incoming.z / kPi), (1.0f - glossy_share_) * incoming.z / kPi};
        if (glossy_share_ > 0.0f) {
            const float a2 = alpha_ * alpha_, facets = distribution(normalized(incoming + outgoing_), a2);
            const float g_out = smith_root(outgoing_.z, a2), g_in = smith_root(incoming.z, a2);
            const float visible = 0.5f / (outgoing_.z * g_in + incoming.z * g_out);
            out.value += material_.specular * (facets * visible * incoming.z);
            // The density of visible normals, G1 D / (4 cos), without the division.
            out.pdf += glossy_share_ * facets * 0.5f / (outgoing_.z + g_out);
        }
        return out;
    }

    // A direction for three numbers in [0, 1); below the surface where the facet that was met reflects into it.
    Vec sample(float lobe, float u, float v) const {
        if (lobe >= glossy_share_) {
            const float radius = std::sqrt(u), angle = 2.0f * kPi * v;
            return {radius * std::cos(angle), radius * std::sin(angle), std::sqrt(std::max(0.0f, 1.0f - u))};
        }
        const Vec facet = visible_normal(u, v);
        return facet * (2.0f * dot(facet, outgoing_)) - outgoing_;
    }

private:
    static float distribution(Vec facet, float a2) {
        // 1 - z^2 by x and y: near the mirror direction z^2 alone has lost its digits.
        const float d = facet.x * facet.x + facet.y * facet.y + a2 * facet.z * facet.z;
        return a2 / (kPi * d * d);
    }
    static float smith_root(float cosine, float a2) { return std::sqrt(a2 + (1.0f - a2) * cosine * cosine); }

    Vec visible_normal(float u, float v) const {
        const Vec stretched = normalized({alpha_ * outgoing_.x, alpha_ * outgoing_.y, outgoing_.z});
        const float angle = 2.0f * kPi * u, z = (1.0f - v) * (1.0f + stretched.z) - stretched.z;
        const float radius = std::sqrt(std::max(0.0f, 1.0f - z * z));
        const Vec cap = stretched + Vec{radius * std::cos(angle), radius * std::sin(angle), z};
        return normalized({alpha_ * cap.x, alpha_ * cap.y, std::max(cap.z, 1e-7f)});
    }

    const Material& material_;
    Vec outgoing_;
    float alpha_, glossy_share_;
};

}  // namespace h3d
