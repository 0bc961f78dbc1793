// See image_loss.h.
#include "image_loss.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "buffer.h"
#include "lanes.h"

namespace h3d {
namespace {

constexpr int kReach = 5;  // taps to either side
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;
constexpr int kMoments = 4;   // x, y, x^2 + y^2, xy: SSIM needs the two squares only as their sum
constexpr int kSlopes = 3;    // of SSIM to the means of x, of x^2 and of xy
constexpr int64_t kRows = 4;  // rows an item of the pool

// exp(-k^2 / (2 * 1.5^2)) by distance k from the middle, over the sum of all taps. Written out, since what is worked out
// when the module loads would run before anyone has asked whether this CPU can.
constexpr float kWindow[kReach + 1] = {0.266011725f, 0.213005538f, 0.10936069f, 0.0360007721f, 0.00759875814f, 0.00102838008f};

// How a row of W pixels of C channels is laid out in scratch: whole vectors, with zeros around as far as a window sees.
struct RowLayout {
    explicit RowLayout(const PicturePair& pair)
        : length(pair.width * pair.channels),
          stride(pair.channels),
          padded(whole(length)),
          margin(whole(kReach * stride)) {}
    static int64_t whole(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }
    int64_t room() const { return padded + 2 * margin; }

    int64_t length, stride, padded, margin;
};

// The rows of a picture that the window over row `r` sees.
struct Span {
    Span(int64_t r, int64_t height) : row(r), low(std::max<int64_t>(0, r - kReach)), end(std::min(height, r + kReach + 1)) {}
    Lanes weight(int64_t s) const { return Lanes(kWindow[std::abs(s - row)]); }
    int64_t row, low, end;
};

Lanes load_part(const float* p, int64_t count) {
    if (count >= kLanes) return load_anywhere(p);
    alignas(64) float part[kLanes] = {};
    std::copy_n(p, count, part);
    return Lanes::load(part);
}

void store_part(Lanes a, float* p, int64_t count) {
    if (count >= kLanes) return store_anywhere(a, p);
    alignas(64) float part[kLanes];
    a.store(part);
    std::copy_n(part, count, p);
}

Mask first_of(int64_t count) { return Mask::from_bits(count >= kLanes ? 0xffffu : (1u << count) - 1u); }

// The window along a row, at one vector of it.
Lanes along(const float* row, int64_t stride) {
    Lanes sum = kWindow[0] * Lanes::load(row);
    for (int k = 1; k <= kReach; k++) {
        sum = fma(Lanes(kWindow[k]), load_anywhere(row - k * stride) + load_anywhere(row + k * stride), sum);
    }
    return sum;
}

struct Moments {
    Lanes x, y, squares, product;
};

// SSIM of one vector of pixels, and its slopes.
struct Similarity {
    explicit Similarity(const Moments& m) {
        const Lanes xx = m.x * m.x, yy = m.y * m.y, xy = m.x * m.y;
        const Lanes a1 = 2.0f * xy + kC1, a2 = 2.0f * (m.product - xy) + kC2;
        const Lanes b1 = xx + yy + kC1, b2 = m.squares - (xx + yy) + kC2;
        const Lanes inverse1 = Lanes(1.0f) / b1, inverse2 = Lanes(1.0f) / b2;
        value = a1 * a2 * inverse1 * inverse2;
        to_x = 2.0f * (m.y * (a2 - a1) * inverse1 * inverse2 - m.x * value * (inverse1 - inverse2));
        to_xx = -(value * inverse2);
        to_xy = 2.0f * a1 * inverse1 * inverse2;
    }
    Lanes value, to_x, to_xx, to_xy;
};

class Sweeps {
public:
    Sweeps(const PicturePair& pair, float share, float* slopes, float* gradient, int workers)
        : pair_(pair), layout_(pair), slopes_(slopes), gradient_(gradient) {
        const auto count = static_cast<float>(layout_.length * pair.height);
        l1_scale_ = (1.0f - share) / count, ssim_scale_ = -share / count;
        const size_t floats = static_cast<size_t>(workers * kMoments * layout_.room());
        std::fill_n(scratch_.ensure(floats), floats, 0.0f);
    }

    // Blurs the moments of row r; its slopes are kept where wanted.
    Likeness compare(int worker, int64_t r) {
        float* columns[kMoments];
        for (int m = 0; m < kMoments; m++) columns[m] = scratch(worker, m);
        const double l1 = moments(r, columns);
        double ssim = 0.0;
        for (int64_t i = 0; i < layout_.length; i += kLanes) {
            Lanes blurred[kMoments];
            for (int m = 0; m < kMoments; m++) blurred[m] = along(columns[m] + i, layout_.stride);
            const Similarity s({blurred[0], blurred[1], blurred[2], blurred[3]});
            const Mask inside = first_of(layout_.length - i);
            ssim += sum(keep(inside, s.value));
            if (slopes_ == nullptr) continue;
            keep(inside, s.to_x).store(slope(r, 0) + i);
            keep(inside, s.to_xx).store(slope(r, 1) + i);
            keep(inside, s.to_xy).store(slope(r, 2) + i);
        }
        return {l1, ssim};
    }

    // The gradient of row r from the slopes of the rows around it.
    void descend(int worker, int64_t r) {
        float* columns[kSlopes];
        for (int m = 0; m < kSlopes; m++) columns[m] = scratch(worker, m);
        const Span span(r, pair_.height);
        for (int64_t i = 0; i < layout_.padded; i += kLanes) {
            Lanes sums[kSlopes] = {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)};
            for (int64_t s = span.low; s < span.end; s++) {
                for (int m = 0; m < kSlopes; m++) sums[m] = fma(span.weight(s), Lanes::load(slope(s, m) + i), sums[m]);
            }
            for (int m = 0; m < kSlopes; m++) sums[m].store(columns[m] + i);
        }
        const float *x = pair_.rendered + r * layout_.length, *y = pair_.target + r * layout_.length;
        for (int64_t i = 0; i < layout_.length; i += kLanes) {
            const int64_t count = layout_.length - i;
            const Lanes a = load_part(x + i, count), b = load_part(y + i, count);
            const Lanes to_x = along(columns[0] + i, layout_.stride), to_xx = along(columns[1] + i, layout_.stride);
            const Lanes slope = fma(b, along(columns[2] + i, layout_.stride), fma(2.0f * a, to_xx, to_x));
            const Lanes sign = keep(a > b, Lanes(1.0f)) - keep(a < b, Lanes(1.0f));
            store_part(fma(Lanes(l1_scale_), sign, ssim_scale_ * slope), gradient_ + r * layout_.length + i, count);
        }
    }

private:
    // The moments blurred down the columns; returns the row's sum of |x - y|.
    double moments(int64_t r, float* const* columns) const {
        const Span span(r, pair_.height);
        double l1 = 0.0;
        for (int64_t i = 0; i < layout_.length; i += kLanes) {
            const int64_t count = layout_.length - i;
            Moments m{Lanes(0.0f), Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)};
            for (int64_t s = span.low; s < span.end; s++) {
                const Lanes x = load_part(pair_.rendered + s * layout_.length + i, count);
                const Lanes y = load_part(pair_.target + s * layout_.length + i, count);
                const Lanes weight = span.weight(s), weighted_x = weight * x, weighted_y = weight * y;
                m.x = m.x + weighted_x;
                m.y = m.y + weighted_y;
                m.squares = fma(weighted_x, x, fma(weighted_y, y, m.squares));
                m.product = fma(weighted_x, y, m.product);
                if (s == r) l1 += sum(abs(x - y));
            }
            m.x.store(columns[0] + i), m.y.store(columns[1] + i);
            m.squares.store(columns[2] + i), m.product.store(columns[3] + i);
        }
        return l1;
    }

    // Row m of a worker; what lies around its `padded` floats stays zero.
    float* scratch(int worker, int m) {
        return scratch_.data() + (worker * kMoments + m) * layout_.room() + layout_.margin;
    }
    float* slope(int64_t r, int m) const { return slopes_ + (r * kSlopes + m) * layout_.padded; }

    PicturePair pair_;
    RowLayout layout_;
    float *slopes_, *gradient_;
    float l1_scale_, ssim_scale_;
    Buffer<float> scratch_;
};

}  // namespace

int64_t slope_floats(const PicturePair& pair) { return pair.height * kSlopes * RowLayout(pair).padded; }

Likeness image_loss(const PicturePair& pair, float ssim_share, float* slopes, float* gradient, Pool& pool) {
    Sweeps sweeps(pair, ssim_share, slopes, gradient, pool.threads());
    const auto each_row = [&](auto&& work) {
        pool.run((pair.height + kRows - 1) / kRows, Cancel(), [&](int worker, int64_t item) {
            for (int64_t r = item * kRows; r < std::min(pair.height, (item + 1) * kRows); r++) work(worker, r);
        });
    };
    std::vector<Likeness> rows(static_cast<size_t>(pair.height));
    each_row([&](int worker, int64_t r) { rows[static_cast<size_t>(r)] = sweeps.compare(worker, r); });
    if (gradient != nullptr) each_row([&](int worker, int64_t r) { sweeps.descend(worker, r); });
    Likeness total;
    for (const Likeness& row : rows) total.l1 += row.l1, total.ssim += row.ssim;
    const auto count = static_cast<double>(pair.height * pair.width * pair.channels);
    return {total.l1 / count, total.ssim / count};
}

}  // namespace h3d
