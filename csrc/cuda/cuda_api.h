/* C ABI of libonesearch_fast_cuda.so, so that nothing but plain data crosses between two C++ run
 * times. Every function returns 0, or a CUDA error code whose text onesearch_cuda_last_error()
 * gives on the same thread. */
#ifndef ONESEARCH_CUDA_API_H_
#define ONESEARCH_CUDA_API_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with every change of this header; a library of another number is not used. */
#define ONESEARCH_CUDA_ABI 3

typedef struct {
  char name[256];
  int32_t major; /* compute capability */
  int32_t minor;
  int32_t num_sms;
  int64_t memory_bytes;
  int64_t shared_bytes; /* the most that one block may have */
} OnesearchCudaDevice;

int onesearch_cuda_abi(void);
/* 13000 is 13.0; driver 0: none installed */
int onesearch_cuda_versions(int* driver, int* runtime);
int onesearch_cuda_device_count(int* count);
int onesearch_cuda_device(int index, OnesearchCudaDevice* device);
const char* onesearch_cuda_last_error(void);

/* Enqueues one step on a stream of the device; `device_step` is an onesearch::DeviceBeamStep. */
int onesearch_cuda_constrained_beam_step(const void* device_step, int device, void* stream);

#ifdef __cplusplus
}
#endif

#endif
