/* The update path's inner loops, one pass of memory each.
 *
 * The arithmetic is fixed: t = g * a, then w + t, two roundings (algorithms.md 2e). The file is compiled with
 * -ffp-contract=off, so no compiler fuses them; numpy's two steps give the same bits (asgd/kernel.py, and its test).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

static int floats(PyObject *o, Py_buffer *b, int writable, Py_ssize_t n) {
    if (PyObject_GetBuffer(o, b, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return -1;
    if (b->len % 4 || (n >= 0 && b->len != 4 * n)) {
        PyBuffer_Release(b);
        PyErr_SetString(PyExc_ValueError, "buffers must be float32 and of equal length");
        return -1;
    }
    return 0;
}

/* axpy(w, g, a): w += g * a, elementwise, in place. */
static PyObject *axpy(PyObject *self, PyObject *args) {
    PyObject *wo, *go; double a;
    if (!PyArg_ParseTuple(args, "OOd", &wo, &go, &a)) return NULL;
    Py_buffer w, g;
    if (floats(wo, &w, 1, -1) < 0) return NULL;
    if (floats(go, &g, 0, w.len / 4) < 0) { PyBuffer_Release(&w); return NULL; }
    float *restrict x = w.buf; const float *restrict y = g.buf; const float s = (float)a;
    Py_ssize_t n = w.len / 4;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++) { float t = y[i] * s; x[i] = x[i] + t; }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&w); PyBuffer_Release(&g);
    Py_RETURN_NONE;
}

/* finite(g) -> bool: no element is inf or nan. An exponent of all ones is what both share. */
static PyObject *all_finite(PyObject *self, PyObject *o) {
    Py_buffer g;
    if (floats(o, &g, 0, -1) < 0) return NULL;
    const uint32_t *restrict p = g.buf; Py_ssize_t n = g.len / 4; uint32_t bad = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++) bad |= (p[i] & 0x7f800000u) == 0x7f800000u;
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&g);
    return PyBool_FromLong(!bad);
}

static PyMethodDef methods[] = {
    {"axpy", axpy, METH_VARARGS, "axpy(w, g, a): w += g * a in place, two roundings an element."},
    {"finite", all_finite, METH_O, "finite(g): whether no element is inf or nan."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "asgd._kernel", "Inner loops of the update path.", -1, methods};
PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
