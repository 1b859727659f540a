/* Telling the service manager how far this program is: systemd's protocol (sd_notify(3)), a datagram of "READY=1" to the socket that
 * NOTIFY_SOCKET names. With Type=notify a start has succeeded when the model answers, not when the program was begun. */
#ifndef DEVICE_NOTIFY_H
#define DEVICE_NOTIFY_H

/* "READY=1", "STOPPING=1". Nothing where nobody asked, and no error where nobody listens. */
void notify(const char *state);

#endif
