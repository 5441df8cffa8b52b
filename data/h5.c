#include "data/h5.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TEXT_BYTES = 1 << 16 };

/* What the system said when HDF5 failed: HDF5's own text has it, as "error message = 'No space left
 * on device'", in one of its stack's rows; "" where it said nothing. HDF5 calls back whenever one
 * of its functions fails, so what it is told has to be global; the first word after a message that
 * was given counts, for what fails later may follow from it. */
static char cause[128];

static herr_t find_cause(unsigned number, const H5E_error2_t *row, void *context) {
    static const char before[] = "error message = '";
    (void)number, (void)context;
    const char *said = row->desc ? strstr(row->desc, before) : NULL;
    if (!said || *cause || strstr(said, "'Success'")) return 0;
    said += strlen(before);
    snprintf(cause, sizeof cause, ": %.*s", (int)strcspn(said, "'"), said);
    return 0;
}

static herr_t failed(hid_t stack, void *context) {
    H5Ewalk2(stack, H5E_WALK_UPWARD, find_cause, context);
    return 0;
}

static void forget(void) {
    *cause = 0;
}

/* The system's refusals are KERN_ERR_FILE, whatever HDF5 was asked for. */
static kern_status refuse(kern_status status, const char *path, const char *what, const char *name,
                          const char *reason) {
    status = kern_fail(*cause ? KERN_ERR_FILE : status, "%s: %s '%s' %s%s", path, what, name,
                       reason, cause);
    forget();
    return status;
}

static kern_status no_array(const char *path, const char *name, const char *reason) {
    return refuse(KERN_ERR_DATA, path, "dataset", name, reason);
}

static kern_status no_attribute(const char *path, const char *name) {
    return refuse(KERN_ERR_DATA, path, "attribute", name, "is missing or of another type");
}

static kern_status cannot_write(const char *path, const char *what) {
    kern_fail(KERN_ERR_FILE, "%s: HDF5 cannot write %s%s", path, what,
              *cause ? cause : "; is there room on its disk?");
    forget();
    return KERN_ERR_FILE;
}

static hid_t access_without_locks(void) {
    H5Eset_auto2(H5E_DEFAULT, failed, NULL);
    forget();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0) H5Pset_file_locking(access, false, true);
    return access;
}

kern_status data_h5_create(hid_t *file, const char *path, int64_t user_block) {
    hid_t access = access_without_locks(), creation = H5Pcreate(H5P_FILE_CREATE);
    *file = -1;
    if (access >= 0 && creation >= 0 && H5Pset_userblock(creation, (hsize_t)user_block) >= 0)
        *file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    if (access >= 0) H5Pclose(access);
    if (creation >= 0) H5Pclose(creation);
    return *file >= 0 ? KERN_OK : cannot_write(path, "the file");
}

kern_status data_h5_open(hid_t *file, const char *path) {
    hid_t access = access_without_locks();
    *file = access >= 0 ? H5Fopen(path, H5F_ACC_RDONLY, access) : -1;
    if (access >= 0) H5Pclose(access);
    if (*file >= 0) return KERN_OK;
    kern_status status =
        kern_fail(*cause ? KERN_ERR_FILE : KERN_ERR_DATA, "%s: HDF5 cannot open it%s", path, cause);
    forget();
    return status;
}

kern_status data_h5_close(hid_t file, const char *path) {
    return file < 0 || H5Fclose(file) >= 0 ? KERN_OK : cannot_write(path, "the end of the file");
}

kern_status data_h5_text_type(hid_t *type, const char *path, size_t bytes) {
    *type = H5Tcopy(H5T_C_S1);
    if (*type >= 0 && H5Tset_size(*type, bytes ? bytes : 1) >= 0 &&
        H5Tset_strpad(*type, H5T_STR_NULLPAD) >= 0 && H5Tset_cset(*type, H5T_CSET_UTF8) >= 0)
        return KERN_OK;
    if (*type >= 0) H5Tclose(*type);
    *type = -1;
    return kern_fail(KERN_ERR_MEMORY, "%s: HDF5 has no memory for a type", path);
}

static kern_status put_attribute(hid_t file, const char *path, const char *name, hid_t type,
                                 const void *value) {
    hid_t space = H5Screate(H5S_SCALAR), attribute = -1;
    if (space >= 0) attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool written = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    return written ? KERN_OK : cannot_write(path, name);
}

kern_status data_h5_put_text(hid_t file, const char *path, const char *name, const char *value) {
    kern_status status = KERN_OK;
    hid_t type;
    if (strlen(value) >= MOST_TEXT_BYTES / 2)
        return kern_fail(KERN_ERR_USAGE, "%s: the text of '%s' is too long", path, name);
    TRY(data_h5_text_type(&type, path, strlen(value)));
    status = put_attribute(file, path, name, type, value);
    H5Tclose(type);
done:
    return status;
}

kern_status data_h5_put_number(hid_t file, const char *path, const char *name, int64_t value) {
    return put_attribute(file, path, name, H5T_STD_I64LE, &value);
}

kern_status data_h5_get_text(char **value, hid_t file, const char *path, const char *name) {
    kern_status status = KERN_OK;
    *value = NULL;
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT), type = -1, space = -1;
    if (attribute >= 0) type = H5Aget_type(attribute);
    if (attribute >= 0) space = H5Aget_space(attribute);
    bool usable = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_STRING &&
                  H5Tis_variable_str(type) == 0 && H5Tget_size(type) <= MOST_TEXT_BYTES &&
                  H5Sget_simple_extent_npoints(space) == 1;
    if (!usable) {
        status = no_attribute(path, name);
        goto done;
    }
    TRY(kern_alloc_zero((void **)value, H5Tget_size(type) + 1, path));
    if (H5Aread(attribute, type, *value) < 0) status = no_attribute(path, name);
done:
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return status;
}

kern_status data_h5_get_number(int64_t *value, hid_t file, const char *path, const char *name) {
    *value = 0;
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT), type = -1, space = -1;
    if (attribute >= 0) type = H5Aget_type(attribute);
    if (attribute >= 0) space = H5Aget_space(attribute);
    bool read = type >= 0 && space >= 0 && H5Tequal(type, H5T_STD_I64LE) > 0 &&
                H5Sget_simple_extent_npoints(space) == 1 &&
                H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return read ? KERN_OK : no_attribute(path, name);
}

kern_status data_h5_create_array(hid_t *dataset, hid_t file, const char *path, const char *name,
                                 hid_t type, int64_t count) {
    hsize_t extent = (hsize_t)count;
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &extent, NULL);
    *dataset = -1;
    if (creation >= 0 && space >= 0 && H5Pset_layout(creation, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0 &&
        H5Pset_obj_track_times(creation, false) >= 0)
        *dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (space >= 0) H5Sclose(space);
    if (creation >= 0) H5Pclose(creation);
    return *dataset >= 0 ? KERN_OK : cannot_write(path, name);
}

kern_status data_h5_write_range(hid_t dataset, const char *path, hid_t type, int64_t begin,
                                int64_t count, const void *values) {
    hsize_t first = (hsize_t)begin, extent = (hsize_t)count;
    hid_t target = H5Dget_space(dataset), source = H5Screate_simple(1, &extent, NULL);
    bool written = target >= 0 && source >= 0 &&
                   H5Sselect_hyperslab(target, H5S_SELECT_SET, &first, NULL, &extent, NULL) >= 0 &&
                   H5Dwrite(dataset, type, source, target, H5P_DEFAULT, values) >= 0;
    if (source >= 0) H5Sclose(source);
    if (target >= 0) H5Sclose(target);
    return written ? KERN_OK : cannot_write(path, "its data");
}

kern_status data_h5_put_array(hid_t file, const char *path, const char *name, hid_t type,
                              int64_t count, const void *values) {
    kern_status status = KERN_OK;
    hid_t dataset = -1;
    TRY(data_h5_create_array(&dataset, file, path, name, type, count));
    TRY(data_h5_write_range(dataset, path, type, 0, count, values));
done:
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == KERN_OK)
        status = cannot_write(path, name);
    return status;
}

/* Opens a dataset and checks that it is a plain array; its type is the caller's to check and close,
 * like the dataset itself. */
static kern_status open_array(hid_t *dataset, hid_t *type, int64_t *count, hid_t file,
                              const char *path, const char *name) {
    kern_status status = KERN_OK;
    hid_t space = -1, creation = -1;
    *type = -1;
    *dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (*dataset < 0) return no_array(path, name, "is missing");
    *type = H5Dget_type(*dataset);
    space = H5Dget_space(*dataset);
    creation = H5Dget_create_plist(*dataset);
    if (*type < 0 || space < 0 || creation < 0 || H5Sget_simple_extent_ndims(space) != 1)
        status = no_array(path, name, "is not one-dimensional");
    else if (H5Pget_layout(creation) != H5D_CONTIGUOUS || H5Pget_nfilters(creation) != 0 ||
             H5Pget_external_count(creation) != 0)
        status = no_array(path, name, "is not contiguous and unfiltered");
    *count = status == KERN_OK ? (int64_t)H5Sget_simple_extent_npoints(space) : 0;
    if (space >= 0) H5Sclose(space);
    if (creation >= 0) H5Pclose(creation);
    return status;
}

static void close_array(hid_t dataset, hid_t type) {
    if (type >= 0) H5Tclose(type);
    if (dataset >= 0) H5Dclose(dataset);
}

kern_status data_h5_find_array(int64_t *count, int64_t *offset, hid_t file, const char *path,
                               const char *name, hid_t type) {
    kern_status status = KERN_OK;
    hid_t dataset = -1, found = -1;
    TRY(open_array(&dataset, &found, count, file, path, name));
    haddr_t address = H5Dget_offset(dataset);
    if (H5Tequal(found, type) <= 0)
        status = no_array(path, name, "has another type than its vocabulary asks for");
    else if (address == HADDR_UNDEF)
        status = no_array(path, name, "has no data");
    *offset = (int64_t)address;
done:
    close_array(dataset, found);
    return status;
}

kern_status data_h5_get_array(void **values, int64_t *count, hid_t file, const char *path,
                              const char *name, hid_t type) {
    kern_status status = KERN_OK;
    hid_t dataset = -1, found = -1;
    *values = NULL;
    TRY(open_array(&dataset, &found, count, file, path, name));
    if (H5Tequal(found, type) <= 0) {
        status = no_array(path, name, "has an unexpected type");
        goto done;
    }
    TRY(kern_alloc(values, (size_t)*count * H5Tget_size(found), path));
    if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values) < 0)
        status = no_array(path, name, "cannot be read");
done:
    close_array(dataset, found);
    return status;
}

kern_status data_h5_get_texts(char **texts, size_t *bytes, int64_t *count, hid_t file,
                              const char *path, const char *name) {
    kern_status status = KERN_OK;
    hid_t dataset = -1, found = -1, padded = -1;
    *texts = NULL;
    TRY(open_array(&dataset, &found, count, file, path, name));
    if (H5Tget_class(found) != H5T_STRING || H5Tis_variable_str(found) != 0 ||
        H5Tget_size(found) > MOST_TEXT_BYTES) {
        status = no_array(path, name, "does not hold texts of a fixed size");
        goto done;
    }
    *bytes = H5Tget_size(found) + 1;
    TRY(data_h5_text_type(&padded, path, *bytes));
    TRY(kern_alloc_zero((void **)texts, (size_t)*count * *bytes, path));
    if (H5Dread(dataset, padded, H5S_ALL, H5S_ALL, H5P_DEFAULT, *texts) < 0)
        status = no_array(path, name, "cannot be read");
done:
    if (padded >= 0) H5Tclose(padded);
    close_array(dataset, found);
    return status;
}
