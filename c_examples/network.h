/* What the networks of the examples are made from: random numbers, a dense layer, a hash of the weights. Plain loops,
 * which compute the same bits everywhere if the compiler fuses no multiplications and additions (-ffp-contract=off). */
#ifndef LOSSKIT_EXAMPLES_NETWORK_H
#define LOSSKIT_EXAMPLES_NETWORK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* splitmix64 (Steele, Lea and Flood, 2014) */
static inline uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [-bound, bound); 24 bits are what a float holds exactly. */
static inline float random_uniform(uint64_t *state, float bound)
{
    const float unit = (float)(random_bits(state) >> 40) / 16777216.0f;
    return (2.0f * unit - 1.0f) * bound;
}

/* ---- a layer: rows of n_in in, rows of n_out out, weight[n_out][n_in] ---- */

static inline void dense_forward(size_t rows, size_t n_in, size_t n_out, const float *in, const float *weight,
                                 const float *bias, float *out)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t o = 0; o < n_out; o++) {
            float sum = bias[o];
            for (size_t i = 0; i < n_in; i++)
                sum += weight[o * n_in + i] * in[row * n_in + i];
            out[row * n_out + o] = sum;
        }
    }
}

static inline void dense_parameter_grad(size_t rows, size_t n_in, size_t n_out, const float *in, const float *out_grad,
                                        float *weight_grad, float *bias_grad)
{
    memset(weight_grad, 0, n_out * n_in * sizeof(float));
    memset(bias_grad, 0, n_out * sizeof(float));
    for (size_t row = 0; row < rows; row++) {
        for (size_t o = 0; o < n_out; o++) {
            const float slope = out_grad[row * n_out + o];
            bias_grad[o] += slope;
            for (size_t i = 0; i < n_in; i++)
                weight_grad[o * n_in + i] += slope * in[row * n_in + i];
        }
    }
}

static inline void dense_input_grad(size_t rows, size_t n_in, size_t n_out, const float *weight, const float *out_grad,
                                    float *in_grad)
{
    memset(in_grad, 0, rows * n_in * sizeof(float));
    for (size_t row = 0; row < rows; row++)
        for (size_t o = 0; o < n_out; o++)
            for (size_t i = 0; i < n_in; i++)
                in_grad[row * n_in + i] += out_grad[row * n_out + o] * weight[o * n_in + i];
}

/* FNV-1a over the bit patterns, low byte first on any machine. */
static inline uint64_t hash_of(size_t n, const float *value)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &value[i], sizeof bits);
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((bits >> shift) & 0xff)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

#endif
