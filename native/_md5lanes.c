/* streamtos3._md5lanes: MD5 of several buffers at once. What it computes is in md5.h. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "md5.h"

/* What one call works on: a buffer and a job for each message. */
struct work {
    Py_ssize_t count;
    Py_ssize_t held; /* so many buffers are to be released */
    Py_buffer *buffers;
    struct md5_job *jobs;
};

static const struct md5_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < MD5_KINDS; i++)
        if (!strcmp(md5_kinds[i].name, name) && md5_is_available(&md5_kinds[i]))
            return &md5_kinds[i];
    PyErr_Format(PyExc_ValueError, "this processor has no kind %s", name);
    return NULL;
}

static void release(struct work *work)
{
    while (work->held)
        PyBuffer_Release(&work->buffers[--work->held]);
    PyMem_Free(work->buffers);
    PyMem_Free(work->jobs);
}

/* Hold the memory of all buffers of a list; 0 with an exception set where one has none. */
static int hold(struct work *work, PyObject *list)
{
    *work = (struct work){PyList_Size(list), 0, NULL, NULL};
    work->buffers = PyMem_Calloc(work->count + 1, sizeof *work->buffers);
    work->jobs = PyMem_Calloc(work->count + 1, sizeof *work->jobs);
    if (!work->buffers || !work->jobs) {
        PyErr_NoMemory();
        return 0;
    }
    for (; work->held < work->count; work->held++) {
        PyObject *item = PyList_GetItem(list, work->held);
        if (!item || PyObject_GetBuffer(item, &work->buffers[work->held], PyBUF_SIMPLE))
            return 0;
    }
    return 1;
}

static void run(const struct md5_kind *kind, struct work *work)
{
    Py_BEGIN_ALLOW_THREADS
    kind->run(work->jobs, work->count);
    Py_END_ALLOW_THREADS
}

static PyObject *digests_of(const struct work *work)
{
    PyObject *list = PyList_New(work->count);

    for (Py_ssize_t i = 0; list && i < work->count; i++) {
        PyObject *digest = PyBytes_FromStringAndSize((const char *)work->jobs[i].state, 16);
        if (!digest || PyList_SetItem(list, i, digest)) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

PyDoc_STRVAR(digests_doc, "digests(kind, buffers)\n--\n\n"
"The binary MD5 of each of a list of buffers.");

static PyObject *digests(PyObject *module, PyObject *args)
{
    const char *name;
    PyObject *list, *result = NULL;
    const struct md5_kind *kind;
    struct work work;
    (void)module;

    if (!PyArg_ParseTuple(args, "sO!", &name, &PyList_Type, &list) || !(kind = find_kind(name)))
        return NULL;
    if (hold(&work, list)) {
        for (Py_ssize_t i = 0; i < work.count; i++)
            md5_begin(&work.jobs[i], work.buffers[i].buf, work.buffers[i].len);
        run(kind, &work);
        result = digests_of(&work);
    }
    release(&work);
    return result;
}

/* KINDS: name and lanes of each kind that this processor has, the widest first. */
static int fill(PyObject *module)
{
    PyObject *kinds = PyList_New(0), *tuple = NULL;
    int failed = !kinds;

    for (size_t i = 0; !failed && i < MD5_KINDS; i++) {
        PyObject *pair;
        if (!md5_is_available(&md5_kinds[i]))
            continue;
        pair = Py_BuildValue("(si)", md5_kinds[i].name, md5_kinds[i].lanes);
        failed = !pair || PyList_Append(kinds, pair);
        Py_XDECREF(pair);
    }
    if (!failed)
        failed = !(tuple = PyList_AsTuple(kinds)) || PyModule_AddObject(module, "KINDS", tuple);
    if (failed)
        Py_XDECREF(tuple);
    Py_XDECREF(kinds);
    return failed ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"digests", digests, METH_VARARGS, digests_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_md5lanes",
    .m_doc = "MD5 of several buffers at once, on the lanes of vector registers.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__md5lanes(void)
{
    return PyModuleDef_Init(&definition);
}
