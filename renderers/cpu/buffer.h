// Scratch that lives from frame to frame: uninitialised, 64-byte aligned, grown at once and shrunk when a scene is gone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace h3d {

template <class T>
class Buffer {
public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    ~Buffer() { release(); }

    // Room for n elements; what was there is lost. The buffer shrinks once it was more than twice too large for the
    // largest need of kPatience calls, so that two scenes drawn in turn do not reallocate at every frame.
    T* ensure(size_t n) {
        peak_ = std::max(peak_, n);
        const bool judge = ++calls_ >= kPatience;
        if (n > capacity_) {
            allocate(n + n / 16);
        } else if (judge && capacity_ > 2 * peak_ + kSmall) {
            allocate(std::max(n, peak_));
        }
        if (judge) calls_ = 0, peak_ = n;
        return data_;
    }
    void release() {
        if (data_ != nullptr) ::operator delete[](static_cast<void*>(data_), std::align_val_t{64});
        data_ = nullptr;
        capacity_ = 0;
    }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }
    size_t bytes() const { return capacity_ * sizeof(T); }

private:
    static constexpr int kPatience = 32;
    static constexpr size_t kSmall = 4096;

    void allocate(size_t n) {
        release();
        data_ = static_cast<T*>(::operator new[](n * sizeof(T), std::align_val_t{64}));
        capacity_ = n;
    }

    T* data_ = nullptr;
    size_t capacity_ = 0;
    size_t peak_ = 0;
    int calls_ = 0;
};

}  // namespace h3d
