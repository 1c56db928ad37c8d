/* The update path's inner loops, one pass of memory each, and the door to the codecs' (`_codecs.c`, `_topk.c`) and
 * the optimizers' (`_rules.c`).
 *
 * The arithmetic is fixed: t = g * a, then w + t, two roundings (algorithms.md 2e). The file is compiled with
 * -ffp-contract=off, so no compiler fuses them; numpy's two steps give the same bits (asgd/kernel.py, and its test).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include "_codecs.h"
#include "_rules.h"

#define LOOK 2048 /* elements that are looked at and added while they are in the first-level cache */

static int floats(PyObject *o, Py_buffer *b, int writable, Py_ssize_t n) {
    if (PyObject_GetBuffer(o, b, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return -1;
    if (b->len % 4 || (n >= 0 && b->len != 4 * n)) {
        PyBuffer_Release(b);
        PyErr_SetString(PyExc_ValueError, "buffers must be float32 and of equal length");
        return -1;
    }
    return 0;
}

CLONES static void add_scaled(float *restrict x, const float *restrict y, float s, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) { float t = y[i] * s; x[i] = x[i] + t; }
}

CLONES static uint32_t count_bad(const uint32_t *restrict p, Py_ssize_t n) {
    uint32_t bad = 0;
    for (Py_ssize_t i = 0; i < n; i++) bad |= (p[i] & 0x7f800000u) == 0x7f800000u;
    return bad;
}

/* The arguments (w, g, a) of what adds g * a to w: two buffers of equal length, to be released. */
static int addends(PyObject *args, Py_buffer *w, Py_buffer *g, double *a) {
    PyObject *wo, *go;
    if (!PyArg_ParseTuple(args, "OOd", &wo, &go, a)) return -1;
    if (floats(wo, w, 1, -1) < 0) return -1;
    if (floats(go, g, 0, w->len / 4) == 0) return 0;
    PyBuffer_Release(w);
    return -1;
}

/* axpy(w, g, a): w += g * a, elementwise, in place. */
static PyObject *axpy(PyObject *self, PyObject *args) {
    Py_buffer w, g; double a;
    if (addends(args, &w, &g, &a) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    add_scaled(w.buf, g.buf, (float)a, w.len / 4);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&w); PyBuffer_Release(&g);
    Py_RETURN_NONE;
}

/* Bits of the largest magnitude; as integers they are in the order of the floats, with inf and nan above all. */
CLONES static uint32_t largest_bits(const uint32_t *restrict p, Py_ssize_t n) {
    int32_t top = 0; /* signed: every processor compares these many at once */
    for (Py_ssize_t i = 0; i < n; i++) {
        int32_t b = (int32_t)(p[i] & 0x7fffffffu);
        top = b > top ? b : top;
    }
    return (uint32_t)top;
}

static PyObject *magnitude(uint32_t bits) { return PyFloat_FromDouble(bits > 0x7f800000u ? HUGE_VAL : float_of(bits)); }

/* add_below(w, g, a, limit) -> float: w += g * a up to the first LOOK elements with one of at least `limit` (inf: with inf
 * or nan) among them; the largest magnitude that was seen. One pass of memory, where looking at all of g first is two. */
static PyObject *add_below(PyObject *self, PyObject *args) {
    PyObject *wo, *go; Py_buffer w, g; double a, limit;
    if (!PyArg_ParseTuple(args, "OOdd", &wo, &go, &a, &limit)) return NULL;
    if (floats(wo, &w, 1, -1) < 0) return NULL;
    if (floats(go, &g, 0, w.len / 4) < 0) { PyBuffer_Release(&w); return NULL; }
    Py_ssize_t n = w.len / 4;
    uint32_t bound = bits_of((float)limit), top = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t done = 0; done < n; done += LOOK) {
        Py_ssize_t block = n - done < LOOK ? n - done : LOOK;
        uint32_t seen = largest_bits((const uint32_t *)g.buf + done, block);
        if (seen > top) top = seen;
        if (seen >= bound) break;
        add_scaled((float *)w.buf + done, (const float *)g.buf + done, (float)a, block);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&w); PyBuffer_Release(&g);
    return magnitude(top);
}

/* largest(g) -> float: the largest magnitude, inf if any element is inf or nan. */
static PyObject *largest(PyObject *self, PyObject *o) {
    Py_buffer g;
    if (floats(o, &g, 0, -1) < 0) return NULL;
    uint32_t top;
    Py_BEGIN_ALLOW_THREADS
    top = largest_bits(g.buf, g.len / 4);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&g);
    return magnitude(top);
}

/* finite(g) -> bool: no element is inf or nan. An exponent of all ones is what both share. */
static PyObject *all_finite(PyObject *self, PyObject *o) {
    Py_buffer g;
    if (floats(o, &g, 0, -1) < 0) return NULL;
    uint32_t bad;
    Py_BEGIN_ALLOW_THREADS
    bad = count_bad(g.buf, g.len / 4);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&g);
    return PyBool_FromLong(!bad);
}

/* -- optimizers: `rule` is a place in the table of `_rules.c`, the same as in rules.py ---------------------- */

/* The factors of a tuple, each rounded to float32; 0, or -1: it has another length, or no numbers. */
static int factors_of(PyObject *told, float *f, int count) {
    if (PyTuple_Size(told) != count) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "the rule takes another number of factors");
        return -1;
    }
    for (int i = 0; i < count; i++) f[i] = (float)PyFloat_AsDouble(PyTuple_GetItem(told, i));
    return PyErr_Occurred() ? -1 : 0;
}

/* move(rule, (w, g, slots ...), factors): w and the slots move by g; nothing of g is changed. */
static PyObject *move(PyObject *self, PyObject *args) {
    int rule, held = 0; PyObject *arrays, *told; Py_buffer b[RULE_ARRAYS]; float *a[RULE_ARRAYS], f[RULE_FACTORS];
    if (!PyArg_ParseTuple(args, "iOO", &rule, &arrays, &told)) return NULL;
    if (rule < 0 || rule >= rules_count || !PyTuple_Check(arrays) || PyTuple_Size(arrays) != rules[rule].arrays) {
        PyErr_SetString(PyExc_ValueError, "no such rule, or not its arrays");
        return NULL;
    }
    if (factors_of(told, f, rules[rule].factors) < 0) return NULL;
    for (; held < rules[rule].arrays; held++) {
        PyObject *o = PyTuple_GetItem(arrays, held);
        if (floats(o, &b[held], held != 1, held ? b[0].len / 4 : -1) < 0) break;
        a[held] = b[held].buf;
    }
    int whole = held == rules[rule].arrays;
    if (whole) {
        Py_BEGIN_ALLOW_THREADS
        rules[rule].pass(a, f, b[0].len / 4);
        Py_END_ALLOW_THREADS
    }
    while (held) PyBuffer_Release(&b[--held]);
    if (!whole) return NULL;
    Py_RETURN_NONE;
}

/* -- codecs: `kind` is a place in this table, the same as in wire/packing.py ---------------------------- */

static const codec_t *const codecs[] = {&codec_bf16, &codec_fp16, &codec_int8, &codec_topk, &codec_onebit};

/* The codec, if a frame of `bytes` bytes is as long as one of n elements must be; else NULL and ValueError. */
static const codec_t *chosen(int kind, Py_ssize_t n, Py_ssize_t bytes, Py_ssize_t arg) {
    if (kind < 0 || kind >= (int)(sizeof codecs / sizeof *codecs) || arg < 0 ||
        (kind == 3 ? arg > n : kind > 1 && arg < 1))
        PyErr_SetString(PyExc_ValueError, "no such codec");
    else if (codecs[kind]->length(n, arg) != bytes)
        PyErr_SetString(PyExc_ValueError, "the frame has not the length of its codec");
    else return codecs[kind];
    return NULL;
}

/* pack(kind, kept | None, vector | None, frame, arg): kept += vector; frame = C(kept); kept -= frame. */
static PyObject *pack(PyObject *self, PyObject *args) {
    int kind, done = -1; PyObject *ko, *vo; Py_buffer frame, k = {0}, v = {0}; Py_ssize_t arg;
    if (!PyArg_ParseTuple(args, "iOOw*n", &kind, &ko, &vo, &frame, &arg)) return NULL;
    if (ko != Py_None && floats(ko, &k, 1, -1) < 0) goto end;
    if (vo != Py_None && floats(vo, &v, 0, k.obj ? k.len / 4 : -1) < 0) goto end;
    Py_ssize_t n = (k.obj ? k.len : v.len) / 4;
    const codec_t *codec = chosen(kind, n, frame.len, arg);
    if (!codec) goto end;
    if (kind > 1 ? !k.obj : !v.obj) { PyErr_SetString(PyExc_ValueError, "nothing to encode"); goto end; }
    Py_BEGIN_ALLOW_THREADS
    done = codec->pack(k.buf, v.buf, n, frame.buf, arg);
    Py_END_ALLOW_THREADS
    if (done < 0) PyErr_NoMemory();
end:
    if (k.obj) PyBuffer_Release(&k);
    if (v.obj) PyBuffer_Release(&v);
    PyBuffer_Release(&frame);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
}

/* frame_largest(kind, frame, n, arg) -> float: the largest magnitude it can stand for, inf: not all is finite. ValueError:
 * this is no such frame. */
static PyObject *frame_largest(PyObject *self, PyObject *args) {
    int kind; float answer = -1.0f; Py_buffer frame; Py_ssize_t n, arg;
    if (!PyArg_ParseTuple(args, "iy*nn", &kind, &frame, &n, &arg)) return NULL;
    const codec_t *codec = n < 0 ? NULL : chosen(kind, n, frame.len, arg);
    if (codec) {
        Py_BEGIN_ALLOW_THREADS
        answer = codec->largest(frame.buf, n, arg);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&frame);
    if (answer >= 0) return PyFloat_FromDouble(answer);
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "its entries are none");
    return NULL;
}

/* unpack(kind, frame, out, arg): out = frame. The frame was found to be one. */
static PyObject *unpack(PyObject *self, PyObject *args) {
    int kind; Py_buffer frame, out; Py_ssize_t arg;
    if (!PyArg_ParseTuple(args, "iy*w*n", &kind, &frame, &out, &arg)) return NULL;
    const codec_t *codec = chosen(kind, out.len / 4, frame.len, arg);
    if (codec) {
        Py_BEGIN_ALLOW_THREADS
        codec->unpack(frame.buf, out.buf, out.len / 4, arg);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&frame); PyBuffer_Release(&out);
    if (!codec) return NULL;
    Py_RETURN_NONE;
}

/* add(kind, frame, w, a, arg): w += frame * a, each product rounded first. The frame was found to be one. */
static PyObject *add(PyObject *self, PyObject *args) {
    int kind; Py_buffer frame, w; double a; Py_ssize_t arg;
    if (!PyArg_ParseTuple(args, "iy*w*dn", &kind, &frame, &w, &a, &arg)) return NULL;
    const codec_t *codec = chosen(kind, w.len / 4, frame.len, arg);
    if (codec) {
        Py_BEGIN_ALLOW_THREADS
        codec->add(frame.buf, w.buf, (float)a, w.len / 4, arg);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&frame); PyBuffer_Release(&w);
    if (!codec) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"pack", pack, METH_VARARGS, "pack(kind, kept, vector, frame, arg): encodes a chunk, kept is the residual."},
    {"frame_largest", frame_largest, METH_VARARGS, "frame_largest(kind, frame, n, arg): inf, or the largest magnitude."},
    {"unpack", unpack, METH_VARARGS, "unpack(kind, frame, out, arg): decodes a frame."},
    {"add", add, METH_VARARGS, "add(kind, frame, w, a, arg): w += frame * a, each product rounded first."},
    {"move", move, METH_VARARGS, "move(rule, arrays, factors): one step of an elementwise optimizer, in place."},
    {"axpy", axpy, METH_VARARGS, "axpy(w, g, a): w += g * a in place, two roundings an element."},
    {"add_below", add_below, METH_VARARGS, "add_below(w, g, a, limit): as axpy, up to a block that reaches limit."},
    {"largest", largest, METH_O, "largest(g): the largest magnitude, inf for inf and nan."},
    {"finite", all_finite, METH_O, "finite(g): whether no element is inf or nan."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "asgd.kernel._kernel", "Inner loops of the update path.", -1, methods};
PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
