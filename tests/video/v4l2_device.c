/* A V4L2 capture device made of a named pipe, for a process that preloads this library.
 *
 * FFmpeg opens the pipe as it opens /dev/video0. Every V4L2 ioctl is answered here. A message of 10 bytes in the pipe is
 * a frame ('F', its stamp in microseconds, its grey value) or says that the device is unplugged ('U'). So a read blocks
 * and a poll waits as they do on a device. The size of the frames is in the file PIPE.size, "64 48".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFERS 4
#define MAX_BYTES (1 << 20)

static unsigned char *memory[BUFFERS];
static int queue[BUFFERS], queued, stopped;
static unsigned width, height;

static void read_size(int fd)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 8);
    if (length < 0)
        return;
    strcpy(path + length, ".size");
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%u %u", &width, &height) != 2)
            width = height = 16;
        fclose(file);
    }
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int dequeue(int fd, struct v4l2_buffer *buffer)
{
    unsigned char message[10];
    ssize_t got = read(fd, message, sizeof message);
    if (got != sizeof message)
        return got < 0 ? -1 : fail(EIO);
    if (message[0] == 'U')
        return fail(ENODEV);
    if (!queued)
        return fail(EIO);
    int64_t stamp_us;
    memcpy(&stamp_us, message + 1, sizeof stamp_us);
    buffer->index = queue[0];
    memmove(queue, queue + 1, sizeof *queue * --queued);
    buffer->bytesused = width * height * 2;
    buffer->timestamp.tv_sec = stamp_us / 1000000;
    buffer->timestamp.tv_usec = stamp_us % 1000000;
    for (unsigned i = 0; i < buffer->bytesused; i += 2) {
        memory[buffer->index][i] = message[9];
        memory[buffer->index][i + 1] = 128;
    }
    return 0;
}

static int set_format(struct v4l2_format *format, int asked)
{
    if (asked && format->fmt.pix.pixelformat != V4L2_PIX_FMT_YUYV)
        return fail(EINVAL);
    format->fmt.pix.width = width;
    format->fmt.pix.height = height;
    format->fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
    format->fmt.pix.field = V4L2_FIELD_NONE;
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (_IOC_TYPE((unsigned)request) != 'V') {
        int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
        return next(fd, request, argument);
    }
    struct v4l2_buffer *buffer = argument;
    switch ((unsigned)request) {
    case VIDIOC_QUERYCAP:
        read_size(fd);
        ((struct v4l2_capability *)argument)->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    case VIDIOC_G_INPUT:
        *(int *)argument = 0;
        return 0;
    case VIDIOC_ENUMINPUT:
    case VIDIOC_STREAMON:
        return 0;
    case VIDIOC_STREAMOFF:
        queued = 0;
        stopped = 1;
        return 0;
    case VIDIOC_G_FMT:
    case VIDIOC_S_FMT:
        return set_format(argument, (unsigned)request == VIDIOC_S_FMT);
    case VIDIOC_G_PARM: {
        struct v4l2_streamparm *parameters = argument;
        parameters->parm.capture.timeperframe = (struct v4l2_fract){1, 30};
        return 0;
    }
    case VIDIOC_REQBUFS:
        ((struct v4l2_requestbuffers *)argument)->count = BUFFERS;
        queued = stopped = 0;
        return 0;
    case VIDIOC_QUERYBUF:
        buffer->length = MAX_BYTES;
        buffer->m.offset = buffer->index * MAX_BYTES;
        return 0;
    case VIDIOC_QBUF:
        if (stopped) /* a packet that outlived its device; FFmpeg has freed what this call comes from */
            abort();
        if (queued < BUFFERS)
            queue[queued++] = buffer->index;
        return 0;
    case VIDIOC_DQBUF:
        return dequeue(fd, buffer);
    default:
        return fail(EINVAL);
    }
}

static void *map(void *address, size_t length, int protection, int flags, int fd, off_t offset, const char *name)
{
    struct stat status;
    if (fd >= 0 && !fstat(fd, &status) && S_ISFIFO(status.st_mode)) {
        void *(*next)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, name);
        return memory[offset / MAX_BYTES] = next(address, length, protection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
    void *(*next)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, name);
    return next(address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return map(address, length, protection, flags, fd, offset, "mmap");
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return map(address, length, protection, flags, fd, offset, "mmap64");
}
