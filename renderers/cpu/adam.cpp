// See adam.h.
#include "adam.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace h3d {
namespace {

constexpr int64_t kBlock = 8192;  // rows an item of the pool
constexpr int kTable = 1024;

// base^n for the exponents that are common; n beyond the table is computed.
class Powers {
public:
    explicit Powers(double base) : base_(base), table_(kTable) {
        double power = 1.0;
        for (double& entry : table_) entry = power, power *= base;
    }
    double operator()(int32_t n) const { return n < kTable ? table_[std::max(n, 0)] : std::pow(base_, n); }

private:
    double base_;
    std::vector<double> table_;
};

// The factor that takes the start at zero out of both moments, by the number of steps made.
class Debias {
public:
    Debias(double beta1, double beta2) : one_(beta1), two_(beta2) {}
    float operator()(int32_t n) const { return static_cast<float>(std::sqrt(1.0 - two_(n)) / (1.0 - one_(n))); }

private:
    Powers one_, two_;
};

// What is the same for all values of a row.
struct RowStep {
    float rate;     // the learning rate, without the moments' start at zero
    float kept;     // share of the average that is left after the steps which the row missed
    const float* factors;  // of the rate, by column
    float l2, decay, beta1, beta2, epsilon;
};

template <bool averaged>
void move_row(const AdamRows& rows, int64_t row, const RowStep& s) {
    for (int f = 0; f < rows.features; f++) {
        const int64_t i = rows.features * row + f;
        const float value = rows.values[i];
        const float g = rows.gradient[i] + s.l2 * value;
        const float first = s.beta1 * rows.first[i] + (1.0f - s.beta1) * g;
        const float second = s.beta2 * rows.second[i] + (1.0f - s.beta2) * g * g;
        const float moved = value - s.rate * s.factors[f] * first / (std::sqrt(second) + s.epsilon);
        rows.first[i] = first, rows.second[i] = second, rows.values[i] = moved;
        if constexpr (averaged) {
            const float average = value + s.kept * (rows.average[i] - value);
            rows.average[i] = moved + s.decay * (average - moved);
        }
    }
}

bool is_zero(const float* row, int features) {
    for (int f = 0; f < features; f++) {
        if (row[f] != 0.0f) return false;
    }
    return true;
}

}  // namespace

void adam_step(const AdamRows& rows, const AdamSettings& s, Pool& pool) {
    const Powers decayed(s.decay);
    const Debias debias(s.beta1, s.beta2);
    const int features = rows.features;
    const std::vector<float> ones(static_cast<size_t>(features), 1.0f);
    const float* factors = rows.factors != nullptr ? rows.factors : ones.data();
    pool.run((rows.rows + kBlock - 1) / kBlock, Cancel(), [&](int, int64_t item) {
        const int64_t end = std::min(rows.rows, (item + 1) * kBlock);
        for (int64_t r = item * kBlock; r < end; r++) {
            if (rows.live != nullptr && rows.live[r] == 0) continue;
            if (s.skip_zero_rows && is_zero(rows.gradient + features * r, features)) continue;
            const float rate = s.rate * debias(++rows.counts[r]);
            const auto kept = static_cast<float>(decayed(s.step - 1 - rows.last[r]));
            rows.last[r] = s.step;
            const RowStep step{rate, kept, factors, s.l2, s.decay, s.beta1, s.beta2, s.epsilon};
            rows.average != nullptr ? move_row<true>(rows, r, step) : move_row<false>(rows, r, step);
        }
    });
}

}  // namespace h3d
