// Adam for arrays of which a batch touches a part, with a running average of the values for display.
//
// N rows of F values. A row counts its own steps. A row that is not live is left whole, moments too. With skip_zero_rows a row whose gradient is all zero is left as it
// is, its average too: what the average missed meanwhile is made up for at the row's next step, in closed form, since
// the value stood still. Source: Kingma and Ba 2015; Mueller et al. 2022, section 4.
#pragma once

#include <cstdint>

#include "pool.h"

namespace h3d {

struct AdamRows {
    float *values = nullptr, *first = nullptr, *second = nullptr;  // [N, F]
    float* average = nullptr;                                      // [N, F], or null: none is kept
    int32_t *counts = nullptr, *last = nullptr;  // [N] steps made; the run's step at which it last moved
    const float* gradient = nullptr;             // [N, F]
    const uint8_t* live = nullptr;               // [N], or null: all are
    const float* factors = nullptr;              // [F] of the learning rate, or null: all one
    int64_t rows = 0;
    int features = 0;
};

struct AdamSettings {
    int32_t step = 1;  // of the run, from 1
    float rate = 1e-2f, l2 = 0.0f, decay = 0.95f;
    float beta1 = 0.9f, beta2 = 0.99f, epsilon = 1e-15f;
    bool skip_zero_rows = false;
};

void adam_step(const AdamRows& rows, const AdamSettings& settings, Pool& pool);

}  // namespace h3d
