"""The C interface of the native runtime (runtime-native/include/hew.h) for Python, with numpy arrays."""
import ctypes
import json
import os

import numpy as np

_DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "i32": np.int32, "i64": np.int64,
           "i8": np.int8, "u8": np.uint8, "bool": np.uint8}


class _Options(ctypes.Structure):
    _fields_ = [("device", ctypes.c_int32), ("synthetic_weights", ctypes.c_int32), ("seed", ctypes.c_uint32),
                ("no_graphs", ctypes.c_int32), ("kernels", ctypes.c_char_p)]


class _Data(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


class _Symbol(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_int64)]


class _Sampling(ctypes.Structure):
    _fields_ = [("temperature", ctypes.c_float), ("top_k", ctypes.c_int32), ("top_p", ctypes.c_float),
                ("seed", ctypes.c_uint64)]


class HewError(Exception):
    def __init__(self, status, message):
        super().__init__(f"{message} (status {status})")
        self.status = status


def _library():
    path = os.environ.get("HEW_LIBRARY", "libhew.so")
    library = ctypes.CDLL(path)
    library.hew_last_error.restype = ctypes.c_char_p
    library.hew_manifest.restype = ctypes.c_char_p
    library.hew_manifest.argtypes = [ctypes.c_void_p]
    library.hew_close.argtypes = [ctypes.c_void_p]
    return library


_hew = _library()


def _check(status):
    if status != 0:
        raise HewError(status, _hew.hew_last_error().decode())


def bf16_to_f32(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Model:
    def __init__(self, directory, synthetic_seed=None, graphs=True):
        options = _Options(0, 0 if synthetic_seed is None else 1, synthetic_seed or 0, 0 if graphs else 1)
        self._model = ctypes.c_void_p()
        _check(_hew.hew_open(str(directory).encode(), ctypes.byref(options), ctypes.byref(self._model)))
        self.manifest = json.loads(_hew.hew_manifest(self._model).decode())

    def close(self):
        _hew.hew_close(self._model)
        self._model = None

    def _call(self, entry, inputs, symbols, outputs):
        inputs = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        given = (_Data * max(1, len(inputs)))(*[_Data(n.encode(), v.ctypes.data, v.nbytes) for n, v in inputs.items()])
        values = (_Symbol * max(1, len(symbols)))(*[_Symbol(n.encode(), int(v)) for n, v in symbols.items()])
        wanted = (_Data * max(1, len(outputs)))(*[_Data(n.encode(), None if v is None else v.ctypes.data, 0 if v is None else v.nbytes)
                                                  for n, v in outputs.items()])
        return inputs, (self._model, entry.encode(), given, ctypes.c_size_t(len(inputs)), values,
                        ctypes.c_size_t(len(symbols)), wanted, ctypes.c_size_t(len(outputs)))

    def step(self, entry, inputs, symbols=None, outputs=None):
        """Runs an entry; gives its outputs (all, or those named) as flat arrays, bf16 as bits."""
        symbols = symbols or {}
        names = [slot["name"] for slot in self.manifest["entries"][entry]["outputs"]] if outputs is None else outputs
        made = {}
        for name in names:
            slot = next(s for s in self.manifest["entries"][entry]["outputs"] if s["name"] == name)
            size = ctypes.c_size_t()
            pairs = (_Symbol * max(1, len(symbols)))(*[_Symbol(n.encode(), int(v)) for n, v in symbols.items()])
            _check(_hew.hew_output_bytes(self._model, entry.encode(), name.encode(), pairs, ctypes.c_size_t(len(symbols)), ctypes.byref(size)))
            made[name] = np.zeros(size.value // np.dtype(_DTYPES[slot["dtype"]]).itemsize, _DTYPES[slot["dtype"]])
        kept, arguments = self._call(entry, inputs, symbols, made)
        _check(_hew.hew_step(*arguments))
        return made

    def measure(self, entry, inputs, symbols=None, outputs=(), repeats=20):
        """Milliseconds of each of `repeats` runs on the device."""
        times = (ctypes.c_float * repeats)()
        kept, arguments = self._call(entry, inputs, symbols or {}, {name: None for name in outputs})
        _check(_hew.hew_measure(*arguments, ctypes.c_size_t(repeats), times))
        return list(times)

    def reset(self):
        _check(_hew.hew_reset(self._model))

    def write_state(self, name, value):
        value = np.ascontiguousarray(value)
        _check(_hew.hew_state_write(self._model, name.encode(), ctypes.c_void_p(value.ctypes.data), ctypes.c_size_t(value.nbytes)))

    def generate(self, prompt, max_tokens, temperature=0.0, top_k=0, top_p=1.0, seed=0):
        prompt = np.ascontiguousarray(prompt, np.int32)
        tokens = np.zeros(max_tokens, np.int32)
        count = ctypes.c_size_t()
        sampling = _Sampling(temperature, top_k, top_p, seed)
        _check(_hew.hew_generate(self._model, ctypes.c_void_p(prompt.ctypes.data), ctypes.c_size_t(prompt.size), ctypes.byref(sampling),
                                 ctypes.c_size_t(max_tokens), ctypes.c_void_p(tokens.ctypes.data), ctypes.byref(count), None, None))
        return tokens[:count.value]
