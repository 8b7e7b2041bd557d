"""Intrinsics for arrays and functions given by their addresses, which numba lacks."""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # it publishes no types
from numba import types as numba_types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

LINE = 8
"""Numbers in a line of the cache."""

_arrays: Any = arrayobj  # numba publishes no types for them
_cgutils: Any = cgutils


def _array_at(dtype: Any) -> Any:  # noqa: ANN401  # numba's types
    result = numba_types.Array(dtype, 1, "C")

    def typed(_typing: Any, _address: Any, _count: Any) -> Any:  # noqa: ANN401  # numba publishes no types
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401  # numba publishes no types
            width = context.get_abi_sizeof(context.get_data_type(dtype))
            itemsize = context.get_constant(numba_types.intp, width)
            view = _arrays.make_array(result)(context, builder)
            _arrays.populate_array(
                view,
                data=builder.inttoptr(arguments[0], view.data.type),
                shape=[arguments[1]],
                strides=[itemsize],
                itemsize=itemsize,
                meminfo=None,
            )
            return view._getvalue()  # noqa: SLF001  # numba's own way to hand over a struct

        return result(numba_types.int64, numba_types.int64), generate

    return typed


numbers_at: Any = intrinsic(_array_at(numba_types.float64))
"""``numbers_at(address, count)``: float64 numbers in memory owned by another array."""

integers_at: Any = intrinsic(_array_at(numba_types.int64))
"""``integers_at(address, count)``: int64 numbers likewise."""

flags_at: Any = intrinsic(_array_at(numba_types.int8))
"""``flags_at(address, count)``: int8 numbers likewise."""


def _call(_typing: Any, address: Any, arguments: Any) -> Any:  # noqa: ANN401  # numba publishes no types
    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:  # noqa: ANN401  # numba publishes no types
        numbers = _cgutils.unpack_tuple(builder, given[1])
        number = ir.IntType(64)
        function = ir.FunctionType(number, [number] * len(numbers))
        return builder.call(builder.inttoptr(given[0], function.as_pointer()), numbers)

    return numba_types.int64(address, arguments), generate


call: Any = intrinsic(_call)
"""``call(address, numbers)``: call the function there with a tuple of int64; it returns one."""


def _cells(_typing: Any, array: Any, _first: Any, _count: Any, _stride: Any) -> Any:  # noqa: ANN401  # numba publishes no types
    result = numba_types.Array(array.dtype, 1, "A", readonly=not array.mutable)
    index = numba_types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401  # numba publishes no types
        source = _arrays.make_array(signature.args[0])(context, builder, arguments[0])
        size = context.get_abi_sizeof(context.get_data_type(array.dtype))
        width = context.get_constant(numba_types.intp, size)
        view = _arrays.make_array(result)(context, builder)
        _arrays.populate_array(
            view,
            data=builder.gep(source.data, [arguments[1]], inbounds=True),
            shape=[arguments[2]],
            strides=[builder.mul(arguments[3], width)],
            itemsize=width,
            meminfo=None,
        )
        return view._getvalue()  # noqa: SLF001  # numba's own way to hand over a struct

    return result(array, index, index, index), generate


cells: Any = intrinsic(_cells)
"""``cells(array, first, count, stride)``: elements of an array, without reference counting.

A slice would do the same, but its reference counting keeps the compiler from vectorising over
symbols. The memory belongs to an argument of the kernel and so outlives the result.
"""


def _stream(
    _typing: Any,  # noqa: ANN401  # numba publishes no types
    target: Any,  # noqa: ANN401  # numba publishes no types
    _into: Any,  # noqa: ANN401  # numba publishes no types
    source: Any,  # noqa: ANN401  # numba publishes no types
    _begin: Any,  # noqa: ANN401  # numba publishes no types
    _lines: Any,  # noqa: ANN401  # numba publishes no types
) -> Any:  # noqa: ANN401  # numba publishes no types
    index = numba_types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401  # numba publishes no types
        line = ir.VectorType(ir.DoubleType(), LINE)
        past_the_cache = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])

        def pointer(array: int, at: Any) -> Any:  # noqa: ANN401  # numba publishes no types
            data = _arrays.make_array(signature.args[array])(context, builder, arguments[array])
            start = builder.gep(data.data, [builder.add(arguments[array + 1], at)])
            return builder.bitcast(start, line.as_pointer())

        with _cgutils.for_range(builder, arguments[4]) as loop:
            at = builder.mul(loop.index, ir.Constant(loop.index.type, LINE))
            numbers = builder.load(pointer(2, at), align=8)
            store = builder.store(numbers, pointer(0, at), align=8 * LINE)
            store.set_metadata("nontemporal", past_the_cache)
        return context.get_dummy_value()

    return numba_types.void(target, index, source, index, index), generate


stream_lines: Any = intrinsic(_stream)
"""``(target, into, source, begin, lines)``: copy whole lines of the cache past the cache.

A panel larger than the cache is evicted before it is read, and writing it through the cache would
read all of its memory first. `into` must begin a line; partial lines would be slower still.
"""
