// A model of the AscendC programming interface that runs on the host: kernels that Hew emits compile against it
// unchanged. It is written from the published signatures and holds no code of any toolkit. README.md says what it checks.
#pragma once
#include "hew_ascend/copy.h"
#include "hew_ascend/cube.h"
#include "hew_ascend/queue.h"
#include "hew_ascend/sync.h"
#include "hew_ascend/tensor.h"
#include "hew_ascend/vector.h"
