// Declarations of the part of hccl that host programs use, from its documented signatures.
#pragma once
#include <cstdint>

#include "acl/acl.h"

typedef void* HcclComm;
typedef enum { HCCL_SUCCESS = 0 } HcclResult;
typedef enum { HCCL_DATA_TYPE_INT8 = 0, HCCL_DATA_TYPE_FP16 = 3, HCCL_DATA_TYPE_FP32 = 4 } HcclDataType;
typedef enum { HCCL_REDUCE_SUM = 0 } HcclReduceOp;
typedef struct HcclRootInfoDef {
    char internal[4108];
} HcclRootInfo;

extern "C" {
HcclResult HcclGetRootInfo(HcclRootInfo* rootInfo);
HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank, HcclComm* comm);
HcclResult HcclCommDestroy(HcclComm comm);
HcclResult HcclAllReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op, HcclComm comm, aclrtStream stream);
}
